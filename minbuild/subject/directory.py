"""A root directory of anyone's making, read without following a link or crossing to another disk."""

import contextlib
import os
import stat
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minbuild.errors import MinbuildError, UsageError
from minbuild.facts.root.owners import owners
from minbuild.facts.root.types import Found, Reach
from minbuild.facts.types import KernelConfig, Kind
from minbuild.footprint.types import Footprint
from minbuild.paths import RootPath, rootpath
from minbuild.subject.seen import Origin, Seen, content, footprint

LARGEST = 1 << 30
"""Bytes of the largest file that is read whole."""
BATCH = 256


def read_directory(top: Path, reach: Reach) -> Footprint:
    """Measure a directory as the root of a host.

    Raises: UsageError when something in it cannot be read.
    """
    places = list(_walk(top))
    first: dict[tuple[int, int], RootPath] = {}
    found = [_entry(top, path, first) for path in places]
    parts = [found[start : start + BATCH] for start in range(0, len(found), BATCH)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        seen = [one for part in pool.map(_contents, parts) for one in part]
    name = top.resolve().name or "root"
    return footprint(
        seen,
        Origin(
            name=name,
            kernel=newest_kernel(seen),
            capabilities=True,
            kconfig=_config(top),
            owners=_owners(top, seen, reach),
        ),
    )


def _walk(top: Path) -> Iterator[Path]:
    """Every path below, sorted in each directory; what cannot be listed is an error."""
    try:
        with os.scandir(top) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(error, top) from error
    for entry in listed:
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))


def _entry(top: Path, place: Path, first: dict[tuple[int, int], RootPath]) -> tuple[Path, Seen]:
    try:
        found = place.lstat()
        path = rootpath(os.fsencode(place.relative_to(top)).decode("utf-8", "backslashreplace"))
        kind, target, size = _type(found.st_mode), "", 0
        if kind == "link":
            target = str(place.readlink())
        if kind == "file":
            size = found.st_size
            original = first.setdefault((found.st_dev, found.st_ino), path)
            if original != path:
                kind, target = "hardlink", original
    except OSError as error:
        raise _unreadable(error, place) from error
    mode = stat.S_IMODE(found.st_mode)
    return place, Seen(
        path, kind, mode, found.st_uid, found.st_gid, size, target=target,
        capability=_capability(place) if kind == "file" else "",
    )  # fmt: skip


def _type(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISLNK(mode):
        return "link"
    return "directory" if stat.S_ISDIR(mode) else "other"


def _contents(part: Sequence[tuple[Path, Seen]]) -> list[Seen]:
    return [_content(place, seen) for place, seen in part]


def _content(place: Path, seen: Seen) -> Seen:
    if seen.type != "file":
        return seen
    try:
        with place.open("rb") as file:
            return content(seen, file.read(LARGEST), sample=True)
    except OSError as error:
        raise _unreadable(error, place) from error


def _capability(place: Path) -> str:
    with contextlib.suppress(OSError):
        return capability(os.getxattr(place, "security.capability", follow_symlinks=False))
    return ""


def capability(data: bytes) -> str:
    """File capabilities as a number. Source: capabilities(7), struct vfs_cap_data."""
    with contextlib.suppress(struct.error):
        _, low, _, high, _ = struct.unpack_from("<IIIII", data)
        return f"permitted {low | high << 32:#x}"
    return ""


def newest_kernel(seen: list[Seen]) -> str:
    """The release of the newest kernel in the tree, by its name."""
    names = [one.path for one in seen if one.path.startswith("/boot/vmlinuz-")]
    return max(names, default="").removeprefix("/boot/vmlinuz-")


def _owners(top: Path, seen: Sequence[Seen], reach: Reach) -> dict[str, tuple[str, str]]:
    raws = [one.path.lstrip("/") for one in seen if one.type == "file"]
    found = {raw: Found(rootpath(raw), raw, Kind.FILE, 0) for raw in raws}
    return owned(found, lambda raw: (top / raw).read_bytes(), reach)


def owned(
    found: Mapping[str, Found], read: Callable[[str], bytes], reach: Reach
) -> dict[str, tuple[str, str]]:
    """Path → package and version, from the root's own database; no link of it is followed.

    What cannot be read is told, and unowned.
    """
    known: dict[str, tuple[str, str]] = {}
    try:
        for one in owners(found, read, lambda args: reach().rpm(args)):
            for path in one.paths:
                known.setdefault(path, (one.name, one.version))
    except MinbuildError as error:
        reach().note(f"whose files these are is not known: {error.what}")
    return known


def _config(top: Path) -> dict[str, str] | None:
    from minbuild.facts.kernel import kernel_config

    found = sorted((top / "boot").glob("config-*"))
    if not found:
        return None
    config: KernelConfig = kernel_config(found[-1].read_bytes())
    return dict(config.options)


def _unreadable(error: OSError, place: Path) -> UsageError:
    return UsageError(
        f"cannot read the tree: {error.strerror}",
        where=str(place),
        fix="read it as a user who may, or name a tar archive of it",
    )
