"""Any root as a footprint: each of its files read once, from whatever holds them."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from minbuild.errors import MinbuildError, UsageError
from minbuild.facts.capability import capability
from minbuild.facts.kernel import kernel_config
from minbuild.facts.root.directory import Directory
from minbuild.facts.root.owners import owners
from minbuild.facts.root.places import Places, places
from minbuild.facts.root.tarball import Unpacked
from minbuild.facts.root.types import Found, Reach, Source
from minbuild.facts.types import Kind
from minbuild.facts.versions import version_key
from minbuild.footprint.types import Footprint
from minbuild.paths import RootPath, rootpath
from minbuild.resolve.kernel import image_version
from minbuild.subject.seen import Origin, Seen, content, footprint

LARGEST = 1 << 30
"""Bytes of the largest file that is read."""
BATCH = 64
CONFIG = re.compile(r"boot/config-[^/]+|(?:usr/)?lib/modules/[^/]+/config")


@dataclass(frozen=True, slots=True)
class Weighed:
    """How a root is stored, and what of it belongs to no file."""

    size: int
    """Bytes of the file or files that hold it."""
    ending: str
    """How the report calls that: tar."""
    is_packed: bool
    """True: a file's share of them is by its weight; False: by its size."""
    overhead: str
    """The row of what belongs to no file."""


def measure(source: Source, name: str, reach: Reach, weighed: Weighed | None = None) -> Footprint:
    """Measure a root. `weighed`: None for one that is stored as it is, in a directory.

    Raises: MinbuildError when it cannot be read.
    """
    by_raw = {one.raw: one for one in source.walk() if one.raw}
    if isinstance(source, Directory) and source.left_out:
        reach().note(f"what is mounted there is left out: {', '.join(sorted(source.left_out))}")
    told = places(by_raw)
    configs: dict[str, bytes] = {}
    seen = [*_top(source), *_read(source, by_raw, told, configs)]
    overhead: dict[str, int] = {}
    payload: int | None = None
    if weighed is not None:
        if not weighed.is_packed:
            seen = [replace(one, weight=one.size) for one in seen]
        weight = sum(one.weight for one in seen if one.type == "file")
        payload = weighed.size if weighed.is_packed else min(weighed.size, weight)
        payload = payload if weight else 0
        overhead[weighed.overhead] = weighed.size - payload
    origin = Origin(
        name=name,
        kernel=(release := newest_kernel(seen)),
        payload=payload,
        packed={weighed.ending: weighed.size} if weighed is not None else {},
        overhead=overhead,
        capabilities=True,
        kconfig=options_of(configs, release),
        owners=_placed(owned(_files(by_raw), source.read, reach), seen),
    )
    return footprint(seen, origin)


def _top(source: Source) -> list[Seen]:
    """The top itself, where all may write to it; all else takes it for granted."""
    if not isinstance(source, Directory | Unpacked):
        return []
    mode, uid, gid = source.modes
    is_open = mode & 0o1002 == 0o002
    return [Seen(RootPath("/"), "directory", mode, uid, gid)] if is_open else []


def _read(
    source: Source, by_raw: Mapping[str, Found], told: Places, configs: dict[str, bytes]
) -> list[Seen]:
    """Read every file; the kernel's configurations are put aside."""
    files = [one for one in by_raw.values() if one.kind is Kind.FILE]
    for one in files:
        if one.size > LARGEST:
            raise UsageError(
                f"a file of {one.size} bytes is larger than what is read", where=f"{source.name}: {one.path}",
                fix=f"leave it out: files of up to {LARGEST} bytes are read",
            )  # fmt: skip
    seen = [_seen(one, told) for one in by_raw.values() if one.kind is not Kind.FILE]
    seen = [one for one in seen if one.path.lstrip("/") not in told.gone]

    def contents(part: Sequence[Found]) -> list[Seen]:
        return [_content(one) for one in part]

    def _content(one: Found) -> Seen:
        data = source.read(one.raw)
        if CONFIG.fullmatch(one.raw):
            configs[one.raw] = data
        return content(_seen(one, told), data, sample=True)

    parts = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        seen += [one for part in pool.map(contents, parts) for one in part]
    links = told.links if told.gone else {}
    seen += [Seen(path, "link", 0o777, target=text) for path, text in links.items()]
    return seen


def _seen(one: Found, told: Places) -> Seen:
    placed = told.told(one)
    target = told.path(one.target) if one.kind is Kind.HARDLINK else placed.target
    return Seen(
        placed.path, str(one.kind), one.mode, one.uid, one.gid,
        one.size if one.kind is Kind.FILE else 0,
        target=target, capability=capability(one.capability) if one.capability else "",
    )  # fmt: skip


def newest_kernel(seen: Sequence[Seen]) -> str:
    """The release of the newest kernel in the tree, by its name."""
    releases = (image_version(one.path) for one in seen if one.type != "directory")
    return max(filter(None, releases), key=version_key, default="")


def options_of(configs: Mapping[str, bytes], release: str) -> dict[str, str] | None:
    """The options of a kernel's configuration, or of the newest one's; None without any.

    `configs`: raw path, boot/config-RELEASE or below the modules → content.
    """
    own = [name for name in configs if release and release in re.split(r"config-|/", name)]
    found = own or sorted(configs, key=version_key)[-1:]
    return dict(kernel_config(configs[found[0]]).options) if found else None


def owned(
    found: Mapping[str, Found], read: Callable[[str], bytes], reach: Reach
) -> dict[str, tuple[str, str]]:
    """Usr-merged path → package and version, from the root's own database; no link is followed.

    What cannot be read is told, and unowned.
    """
    known: dict[str, tuple[str, str]] = {}
    try:
        for one in owners(found, read, lambda args, **how: reach().rpm(args, **how)):
            for path in one.paths:
                known.setdefault(path, (one.name, one.version))
    except MinbuildError as error:
        reach().note(f"whose files these are is not known: {error.what}")
    return known


def _files(by_raw: Mapping[str, Found]) -> dict[str, Found]:
    return {raw: one for raw, one in by_raw.items() if one.kind in (Kind.FILE, Kind.HARDLINK)}


def _placed(
    owners: Mapping[str, tuple[str, str]], seen: Sequence[Seen]
) -> dict[str, tuple[str, str]]:
    """The owners by the paths that the root has."""
    return {one.path: owners[merged] for one in seen if (merged := rootpath(one.path)) in owners}
