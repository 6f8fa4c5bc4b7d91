"""Looking after a store: what it holds, what of it is damaged, what nobody has used for long."""

import io
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from minbuild.archive import lockfile
from minbuild.archive.model import Package
from minbuild.cache.records import RecordKind
from minbuild.cache.store import CacheCorrupted, Store
from minbuild.errors import ToolError, UsageError
from minbuild.facts.model import FileEntry
from minbuild.file_io import hash_pieces, open_atomic, translate_disk_errors
from minbuild.formats.root_entry import FileType
from minbuild.parallel import map_in_threads
from minbuild.pipeline import tool_setup
from minbuild.pipeline.lock_policy import collect_vouch_records
from minbuild.progress import Progress
from minbuild.toolbox import install
from minbuild.toolbox.install import compute_tree_key, confine_link

_PACKAGE_MEMBER = re.compile("minbuild-store/([0-9a-f]{64})")
_VOUCHED_MEMBER = "minbuild-store/vouched"
"""The member that says which rows of locks signed indices have had."""
_VOUCHED_LINE = re.compile("[0-9a-f]{64} [0-9a-f]{64}")
_MAX_VOUCHED_SIZE = 16 << 20
"""Bytes of that member."""
_CHUNK_SIZE = 1 << 20


def export_packages(store: Store, output: Path, locks: Sequence[Path], progress: Progress) -> int:
    """Write the packages of `locks` to a tar file, whole or not at all; returns how many.

    The same packages give the same bytes.
    Raises: UsageError when the store lacks packages of a lock; ToolError when it cannot be written.
    """
    packages: list[Package] = []
    for path in locks:
        lock = lockfile.read_lock(path)
        packages += (*lock.packages, *lock.toolbox)
    names_by_digest = {one.sha256: f"{one.name} {one.version}" for one in packages}
    records = sorted(collect_vouch_records(packages, store))
    absent = [
        name for sha256, name in names_by_digest.items() if store.find_verified(sha256) is None
    ]
    if absent:
        raise UsageError(
            f"the store lacks {len(absent)} packages: {', '.join(sorted(absent)[:5])}",
            where=str(store.directory),
            fix="bring them first: minbuild lock MANIFEST --fetch",
        )
    with open_atomic(output) as file:
        _write_export(store, sorted(names_by_digest), records, file, progress)
    return len(names_by_digest)


def import_exported_packages(store: Store, source: Path, progress: Progress) -> int:
    """Take the packages of an exported file into the store; returns how many.

    Raises: ToolError when the file is damaged or no export; sound members before it are kept.
    """
    count = 0
    try:
        with source.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                if member.name == _VOUCHED_MEMBER and member.isreg():
                    _import_vouch_records(store, tar.extractfile(member), source)
                    continue
                match = _PACKAGE_MEMBER.fullmatch(member.name)
                content = tar.extractfile(member) if match and member.isreg() else None
                if match is None or content is None:
                    raise _explain_bad_export(source, f"it has a member {member.name!r}")
                if not _import_member(store, content, match[1]):
                    raise _explain_bad_export(source, f"{match[1]} is damaged")
                count += 1
                progress.bar("importing", count, 0)
    except (tarfile.TarError, EOFError) as error:
        raise _explain_bad_export(source, str(error)) from error
    except OSError as error:
        raise ToolError(
            f"cannot read: {error.strerror or error}", where=str(source), fix="name another file"
        ) from error
    if not count:
        raise _explain_bad_export(source, "it holds no package")
    return count


def _import_vouch_records(store: Store, content: IO[bytes] | None, source: Path) -> None:
    """Keep what indices have said of the packages. Raises: ToolError."""
    text = content.read(_MAX_VOUCHED_SIZE + 1) if content is not None else b""
    lines = text.decode("ascii", "replace").splitlines()
    if len(text) > _MAX_VOUCHED_SIZE or not all(map(_VOUCHED_LINE.fullmatch, lines)):
        raise _explain_bad_export(source, f"its member {_VOUCHED_MEMBER!r} is damaged")
    store.put(RecordKind.VOUCHED_PACKAGE, dict.fromkeys(lines, b"1"))


def _write_export(
    store: Store,
    digests: Sequence[str],
    records: Sequence[str],
    file: IO[bytes],
    progress: Progress,
) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        text = "".join(f"{line}\n" for line in records).encode()
        head = tarfile.TarInfo(_VOUCHED_MEMBER)
        head.size, head.mode = len(text), 0o444
        tar.addfile(head, io.BytesIO(text))
        for number, sha256 in enumerate(digests):
            path = store.path(sha256)
            assert path is not None
            member = tarfile.TarInfo(f"minbuild-store/{sha256}")
            member.size, member.mode = path.stat().st_size, 0o444
            with path.open("rb") as content:
                tar.addfile(member, content)
            progress.bar("exporting", number + 1, len(digests))


def _import_member(store: Store, content: IO[bytes], sha256: str) -> bool:
    """Keep a member if its bytes have the digest that it is named by."""
    with store.create_temp_dir() as work, translate_disk_errors(work):
        with (work / "file").open("wb") as out:
            actual = hash_pieces(iter(lambda: content.read(_CHUNK_SIZE), b""), out)
        if actual != sha256:
            return False
        store.adopt(work / "file", sha256)
    return True


def _explain_bad_export(source: Path, reason: str) -> ToolError:
    return ToolError(
        f"this is no whole export of a store: {reason}",
        where=str(source),
        fix="export it again: minbuild store export FILE LOCK",
    )


DAY = 86_400


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """What one kind of entry takes up."""

    kind: str
    """package, index, segment, content, tool, record or partial."""
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DamagedEntry:
    """An entry that was damaged, and is gone."""

    kind: str
    name: str


def measure_cache(store: Store) -> tuple[CacheUsage, ...]:
    """What the store takes up, by kind; in a fixed order."""
    kind_by_digest = classify_files(store)
    totals = dict.fromkeys(("package", "index", "segment", "content"), (0, 0))
    for path in list_files(store):
        kind = kind_by_digest.get(path.name, "content")
        entries, total = totals[kind]
        totals[kind] = (entries + 1, total + _stat_path(path).st_size)
    rows = [CacheUsage(kind, *usage) for kind, usage in totals.items()]
    rows.append(_measure_directory("tool", store.directory / "trees"))
    rows.append(_measure_directory("kernel", store.directory / "kernels"))
    databases = [path for path in store.directory.glob("records-*") if path.is_file()]
    rows.append(
        CacheUsage(
            "record", store.count_records(), sum(_stat_path(path).st_size for path in databases)
        )
    )
    rows.append(_measure_directory("partial", store.directory / "partial"))
    return tuple(rows)


def check_cache(store: Store) -> tuple[int, tuple[DamagedEntry, ...]]:
    """Hold every entry against its digest; a damaged one is removed, so that it is made anew.

    Returns how many entries were checked, and the damaged ones, sorted.
    """
    kind_by_digest = classify_files(store)
    paths = list(list_files(store))
    results = map_in_threads(lambda path: store.find_verified(path.name) is not None, paths)
    damaged = [
        DamagedEntry(kind_by_digest.get(path.name, "content"), path.name)
        for path, is_sound in zip(paths, results, strict=True)
        if not is_sound
    ]
    for path in [path for path in (store.directory / "files").glob("*/*") if path not in paths]:
        damaged.append(
            DamagedEntry("stranger", path.name)
        )  # not named as the store names its files
        path.unlink(missing_ok=True)
    trees = list(_check_tool_trees(store))
    damaged += [entry for entry in trees if entry is not None]
    record_count, bad_records = store.check_records()
    damaged += [DamagedEntry("record", name) for name in bad_records]
    checked_count = len(paths) + len(trees) + record_count
    return checked_count, tuple(sorted(damaged, key=lambda entry: (entry.kind, entry.name)))


def collect_garbage(store: Store, *, days: int) -> tuple[CacheUsage, ...]:
    """Remove what nobody has read for `days`, and what killed builds left a day ago.

    Returns what went, by kind. What a build needs again is fetched or made anew.
    """
    now = time.time()
    removed: dict[str, list[int]] = {}
    kind_by_digest = classify_files(store)
    for path in list_files(store):
        stat = _stat_path(path)
        if now - max(stat.st_atime, stat.st_mtime) >= days * DAY:
            path.unlink(missing_ok=True)
            removed.setdefault(kind_by_digest.get(path.name, "content"), []).append(stat.st_size)
    for name, kind, age in (
        ("trees", "tool", days), ("kernels", "kernel", days), ("partial", "partial", max(days, 1)),
    ):  # fmt: skip
        for path in sorted((store.directory / name).iterdir()):
            if now - _find_last_use(path) >= age * DAY:
                removed.setdefault(kind, []).append(_measure_directory(kind, path).bytes)
                _remove_path(path)
    for path in sorted(store.directory.glob("records-*.sqlite*")):
        current = path.name.startswith(store.current_file.name)
        if not current and now - path.stat().st_mtime >= max(days, 1) * DAY:
            removed.setdefault("record", []).append(path.stat().st_size)
            path.unlink(missing_ok=True)
    store.vacuum()
    return tuple(
        CacheUsage(kind, len(sizes), sum(sizes)) for kind, sizes in sorted(removed.items())
    )


def list_files(store: Store) -> Iterator[Path]:
    """Every file of the store that is named by a digest, sorted."""
    for path in sorted((store.directory / "files").glob("*/*")):
        if len(path.name) == 64 and path.parent.name == path.name[:2]:
            yield path


def classify_files(store: Store) -> dict[str, str]:
    """Digest → kind, of every file that a record tells of; all others are contents."""
    kind_by_digest = dict.fromkeys(store.get_all(RecordKind.FILES), "package")
    kind_by_digest |= {
        value.decode(): "segment" for value in store.get_all(RecordKind.SEGMENT).values()
    }
    indices = store.get_all(RecordKind.INDEX)
    kind_by_digest |= dict.fromkeys(indices, "index")
    kind_by_digest |= {value.decode(): "index" for value in indices.values()}
    kind_by_digest |= dict.fromkeys(store.get_all(RecordKind.RELEASE), "index")
    return kind_by_digest


def _check_tool_trees(store: Store) -> Iterator[DamagedEntry | None]:
    for value in store.get_all(RecordKind.TOOL_CLOSURE).values():
        entries: list[FileEntry] = [
            one.entry for one in tool_setup.decode_tool_files(json.loads(value))
        ]
        tree_path = store.tree_path(compute_tree_key(entries))
        if not tree_path.is_dir():
            continue
        links = {
            one.path: confine_link(one.path, one.target)
            for one in entries
            if one.kind is FileType.LINK
        }
        try:
            install.require_intact(tree_path, entries, links, store)
        except CacheCorrupted as error:
            yield DamagedEntry("tool", error.where.rpartition(": ")[2])
        else:
            yield None


def _measure_directory(kind: str, top: Path) -> CacheUsage:
    """A directory's own entries, and the bytes of all files below."""
    if not top.is_dir():
        return CacheUsage(kind, 1, _stat_path(top).st_size)
    below = [path for path in top.rglob("*") if path.is_file() and not path.is_symlink()]
    return CacheUsage(
        kind, sum(1 for _ in top.iterdir()), sum(_stat_path(path).st_size for path in below)
    )


def _find_last_use(top: Path) -> float:
    """When something below a path was last read or written."""
    stats = [_stat_path(path) for path in (top, *top.rglob("*"))]
    return max(max(stat.st_atime, stat.st_mtime) for stat in stats)


def _remove_path(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _stat_path(path: Path) -> os.stat_result:
    """Of a path that another process may remove: then as empty and long unused."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return os.stat_result((0,) * 10)
