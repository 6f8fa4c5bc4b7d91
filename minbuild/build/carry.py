"""Carrying packages from one store to another in one file: a tar whose members are named by digest.

A machine without a network builds from it. Nothing in it is believed: each member is checked
against its name, and all else (facts, segments) is computed anew.
"""

import hashlib
import os
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from minbuild.archive import lockfile
from minbuild.errors import ToolError, UsageError
from minbuild.progress import Progress
from minbuild.records import full_disk
from minbuild.store import Store

_MEMBER = re.compile("minbuild-store/([0-9a-f]{64})")
_PIECE = 1 << 20


def export(store: Store, output: Path, locks: Sequence[Path], progress: Progress) -> int:
    """Write the packages of `locks` to a tar file, whole or not at all; returns how many.

    The same packages give the same bytes.
    Raises: UsageError when the store lacks packages of a lock; ToolError when it cannot be written.
    """
    wanted: dict[str, str] = {}
    for path in locks:
        lock = lockfile.read(path)
        wanted |= {
            one.sha256: f"{one.name} {one.version}" for one in (*lock.packages, *lock.toolbox)
        }
    absent = [name for sha256, name in wanted.items() if store.sound(sha256) is None]
    if absent:
        raise UsageError(
            f"the store lacks {len(absent)} packages: {', '.join(sorted(absent)[:5])}",
            where=str(store.directory),
            fix="bring them first: minbuild lock MANIFEST --fetch",
        )
    beside = output.with_name(f".{output.name}.{os.getpid()}")
    with full_disk(output):
        try:
            with beside.open("wb") as file:
                _write(store, sorted(wanted), file, progress)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, output)
        finally:
            beside.unlink(missing_ok=True)
    return len(wanted)


def bring(store: Store, source: Path, progress: Progress) -> int:
    """Take the packages of an exported file into the store; returns how many.

    Raises: ToolError when the file is damaged or no export; sound members before it are kept.
    """
    count = 0
    try:
        with source.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                found = _MEMBER.fullmatch(member.name)
                content = tar.extractfile(member) if found and member.isreg() else None
                if found is None or content is None:
                    raise _unfit(source, f"it has a member {member.name!r}")
                if not _take(store, content, found[1]):
                    raise _unfit(source, f"{found[1]} is damaged")
                count += 1
                progress.bar("importing", count, 0)
    except (tarfile.TarError, EOFError) as error:
        raise _unfit(source, str(error)) from error
    except OSError as error:
        raise ToolError(
            f"cannot read: {error.strerror or error}", where=str(source), fix="name another file"
        ) from error
    if not count:
        raise _unfit(source, "it holds no package")
    return count


def _write(store: Store, digests: Sequence[str], file: IO[bytes], progress: Progress) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for number, sha256 in enumerate(digests):
            path = store.file(sha256)
            assert path is not None
            member = tarfile.TarInfo(f"minbuild-store/{sha256}")
            member.size, member.mode = path.stat().st_size, 0o444
            with path.open("rb") as content:
                tar.addfile(member, content)
            progress.bar("exporting", number + 1, len(digests))


def _take(store: Store, content: IO[bytes], sha256: str) -> bool:
    """Keep a member if its bytes have the digest that it is named by."""
    digest = hashlib.sha256()
    with store.work() as work, full_disk(work):
        with (work / "file").open("wb") as out:
            while piece := content.read(_PIECE):
                digest.update(piece)
                out.write(piece)
        if digest.hexdigest() != sha256:
            return False
        store.adopt(work / "file", sha256)
    return True


def _unfit(source: Path, reason: str) -> ToolError:
    return ToolError(
        f"this is no whole export of a store: {reason}",
        where=str(source),
        fix="export it again: minbuild store export FILE LOCK",
    )
