"""Which files of an image a boot used, and which paths it missed: pure."""

import json
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from minbuild.errors import ToolError
from minbuild.escape import dump
from minbuild.footprint.types import FileRow, Footprint
from minbuild.paths import RootPath, rootpath

SCHEMA = "minbuild.trace/1"
LINKS = 40
"""Links that one path may lead through. Source: path_resolution(7)."""
ELSEWHERE = ("/proc", "/sys", "/dev", "/run", "/tmp", "/data", "/var")
"""Places that the image does not fill."""


@dataclass(frozen=True, slots=True)
class Unused:
    """A file that no boot opened."""

    path: RootPath
    component: str
    size: int


@dataclass(frozen=True, slots=True)
class Missed:
    """A path that was asked for and was never there."""

    path: str
    times: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What came of tracing one or more boots."""

    name: str
    used: tuple[RootPath, ...]
    """Files of the image that were opened, executed or mapped; sorted."""
    unused: tuple[Unused, ...]
    """All others; the largest first."""
    missed: tuple[Missed, ...]
    """Sorted by path; of places that the image fills."""
    elsewhere: int
    """How many more were missed, of places that it does not fill."""


def usage(footprint: Footprint, opened: Iterable[str], missing: Mapping[str, int]) -> Usage:
    """Say of each file whether one of the opened names leads to it; the kernel is always used.

    A relative name counts for every file whose path ends with it.
    """
    rows = {row.path: row for row in footprint.files}
    files = {row.path: row for row in footprint.files if row.type == "file"}
    names = set(opened)
    reached = {_reached(RootPath(name), rows) for name in names if name.startswith("/")}
    ends = tuple(f"/{name.removeprefix('./')}" for name in names if not name.startswith("/"))
    kernel = f"/boot/vmlinuz-{footprint.kernel}"
    used = {
        path
        for path in files
        if path in reached or path == kernel or (ends and path.endswith(ends))
    }
    rest = [
        Unused(path, row.component, row.size) for path, row in files.items() if path not in used
    ]
    inside = {path: count for path, count in missing.items() if not _elsewhere(path)}
    return Usage(
        name=footprint.name,
        used=tuple(sorted(used)),
        unused=tuple(sorted(rest, key=lambda one: (-one.size, one.path))),
        missed=tuple(Missed(path, count) for path, count in sorted(inside.items())),
        elsewhere=len(missing) - len(inside),
    )


def _elsewhere(path: str) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in ELSEWHERE)


def _reached(path: RootPath, rows: Mapping[RootPath, FileRow]) -> str:
    """Where a path leads through the image's links and hard links."""
    left = _parts(path)
    at, count = "/", 0
    while left:
        part = left.pop(0)
        if part == "..":
            at = posixpath.dirname(at)
            continue
        step = posixpath.join(at, part)
        row = rows.get(RootPath(step))
        if row is None or row.type not in {"link", "hardlink"}:
            at = step
            continue
        count += 1
        if count > LINKS:
            return ""
        target = row.target
        if row.type == "hardlink" or target.startswith("/"):
            at = "/"
        left = [*_parts(target), *left]
    return rootpath(at)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def render(found: Usage) -> str:
    """Write a usage as a document: schema `minbuild.trace/1`, sizes in bytes."""
    document = {
        "schema": SCHEMA,
        "name": found.name,
        "used": list(found.used),
        "unused": [
            {"path": one.path, "component": one.component, "size": one.size} for one in found.unused
        ],
        "missed": [{"path": one.path, "times": one.times} for one in found.missed],
        "elsewhere": found.elsewhere,
    }
    return dump(document)


def read(text: str, where: str) -> Usage:
    """Read what `render` wrote.

    Raises: ToolError when it is something else.
    """
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']}")
        return Usage(
            str(document["name"]),
            tuple(rootpath(path) for path in document["used"]),
            tuple(
                Unused(rootpath(one["path"]), str(one["component"]), int(one["size"]))
                for one in document["unused"]
            ),
            tuple(Missed(str(one["path"]), int(one["times"])) for one in document["missed"]),
            int(document["elsewhere"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolError(
            f"this is no record of a traced boot: {error}",
            where=where,
            fix="make it anew: minbuild boot --trace",
        ) from error
