"""Carrying packages from one store to another in one file: a tar whose members are named by digest.

A machine without a network builds from it. Each member is checked against its name, and all else
(facts, segments) is computed anew; believed is only that signed indices had these packages.
"""

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from minbuild.archive import lockfile
from minbuild.archive.types import Package
from minbuild.build.vouching import VOUCHED, words_for
from minbuild.errors import ToolError, UsageError
from minbuild.progress import Progress
from minbuild.records import full_disk
from minbuild.store import Store

_MEMBER = re.compile("minbuild-store/([0-9a-f]{64})")
_VOUCHED = "minbuild-store/vouched"
"""The member that says which rows of locks signed indices have had."""
_WORDS = re.compile("[0-9a-f]{64} [0-9a-f]{64}")
_MOST_WORDS = 16 << 20
"""Bytes of that member."""
_PIECE = 1 << 20


def export(store: Store, output: Path, locks: Sequence[Path], progress: Progress) -> int:
    """Write the packages of `locks` to a tar file, whole or not at all; returns how many.

    The same packages give the same bytes.
    Raises: UsageError when the store lacks packages of a lock; ToolError when it cannot be written.
    """
    packages: list[Package] = []
    for path in locks:
        lock = lockfile.read(path)
        packages += (*lock.packages, *lock.toolbox)
    wanted = {one.sha256: f"{one.name} {one.version}" for one in packages}
    words = sorted(words_for(packages, store))
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
                _write(store, sorted(wanted), words, file, progress)
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
                if member.name == _VOUCHED and member.isreg():
                    _believe(store, tar.extractfile(member), source)
                    continue
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


def _believe(store: Store, content: IO[bytes] | None, source: Path) -> None:
    """Keep what indices have said of the packages. Raises: ToolError."""
    text = content.read(_MOST_WORDS + 1) if content is not None else b""
    lines = text.decode("ascii", "replace").splitlines()
    if len(text) > _MOST_WORDS or not all(map(_WORDS.fullmatch, lines)):
        raise _unfit(source, f"its member {_VOUCHED!r} is damaged")
    store.put(VOUCHED, dict.fromkeys(lines, b"1"))


def _write(
    store: Store, digests: Sequence[str], words: Sequence[str], file: IO[bytes], progress: Progress
) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        text = "".join(f"{line}\n" for line in words).encode()
        head = tarfile.TarInfo(_VOUCHED)
        head.size, head.mode = len(text), 0o444
        tar.addfile(head, io.BytesIO(text))
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
