"""Trace of a boot: files of the image that it opened, and paths that it missed."""

import json
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from minbuild.errors import ToolError
from minbuild.escape import dump_json
from minbuild.footprint.model import FileRow, Footprint
from minbuild.paths import RootPath, to_root_path

TRACE_SCHEMA = "minbuild.trace/1"
MAX_LINKS = 40
"""Links that one path may lead through. Source: path_resolution(7)."""
OUTSIDE_IMAGE = ("/proc", "/sys", "/dev", "/run", "/tmp", "/data", "/var")
"""Places that the image does not fill."""


@dataclass(frozen=True, slots=True)
class UnusedFile:
    """A file that no boot opened."""

    path: RootPath
    component: str
    size: int


@dataclass(frozen=True, slots=True)
class MissedPath:
    """A path that was asked for and was never there."""

    path: str
    times: int


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """What came of tracing one or more boots."""

    name: str
    used: tuple[RootPath, ...]
    """Files of the image that were opened, executed or mapped; sorted."""
    unused: tuple[UnusedFile, ...]
    """All others; the largest first."""
    missed: tuple[MissedPath, ...]
    """Sorted by path; of places that the image fills."""
    outside_image: int
    """How many more were missed, of places that it does not fill."""


def summarize_trace(
    footprint: Footprint, opened: Iterable[str], missing: Mapping[str, int]
) -> TraceSummary:
    """Say of each file whether one of the opened names leads to it; the kernel is always used.

    A relative name counts for every file whose path ends with it.
    """
    rows = {row.path: row for row in footprint.files}
    files = {row.path: row for row in footprint.files if row.type == "file"}
    names = set(opened)
    resolved_paths = {_resolve_path(RootPath(name), rows) for name in names if name.startswith("/")}
    suffixes = tuple(f"/{name.removeprefix('./')}" for name in names if not name.startswith("/"))
    kernel = f"/boot/vmlinuz-{footprint.kernel}"
    used = {
        path
        for path in files
        if path in resolved_paths or path == kernel or (suffixes and path.endswith(suffixes))
    }
    unused_files = [
        UnusedFile(path, row.component, row.size) for path, row in files.items() if path not in used
    ]
    inside_image = {path: count for path, count in missing.items() if not _is_outside_image(path)}
    return TraceSummary(
        name=footprint.name,
        used=tuple(sorted(used)),
        unused=tuple(sorted(unused_files, key=lambda one: (-one.size, one.path))),
        missed=tuple(MissedPath(path, count) for path, count in sorted(inside_image.items())),
        outside_image=len(missing) - len(inside_image),
    )


def _is_outside_image(path: str) -> bool:
    return any(path == directory or path.startswith(f"{directory}/") for directory in OUTSIDE_IMAGE)


def _resolve_path(path: RootPath, rows: Mapping[RootPath, FileRow]) -> str:
    """Where a path leads through the image's links and hard links."""
    parts = _split_path(path)
    resolved, count = "/", 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            resolved = posixpath.dirname(resolved)
            continue
        candidate = posixpath.join(resolved, part)
        row = rows.get(RootPath(candidate))
        if row is None or row.type not in {"link", "hardlink"}:
            resolved = candidate
            continue
        count += 1
        if count > MAX_LINKS:
            return ""
        target = row.target
        if row.type == "hardlink" or target.startswith("/"):
            resolved = "/"
        parts = [*_split_path(target), *parts]
    return to_root_path(resolved)


def _split_path(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def render_trace(summary: TraceSummary) -> str:
    """Write a usage as a document: schema `minbuild.trace/1`, sizes in bytes."""
    document = {
        "schema": TRACE_SCHEMA,
        "name": summary.name,
        "used": list(summary.used),
        "unused": [
            {"path": one.path, "component": one.component, "size": one.size}
            for one in summary.unused
        ],
        "missed": [{"path": one.path, "times": one.times} for one in summary.missed],
        "elsewhere": summary.outside_image,
    }
    return dump_json(document)


def read_trace(text: str, where: str) -> TraceSummary:
    """Read what `render` wrote.

    Raises: ToolError when it is something else.
    """
    try:
        document = json.loads(text)
        if document["schema"] != TRACE_SCHEMA:
            raise ValueError(f"schema {document['schema']}")
        return TraceSummary(
            str(document["name"]),
            tuple(to_root_path(path) for path in document["used"]),
            tuple(
                UnusedFile(to_root_path(one["path"]), str(one["component"]), int(one["size"]))
                for one in document["unused"]
            ),
            tuple(MissedPath(str(one["path"]), int(one["times"])) for one in document["missed"]),
            int(document["elsewhere"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolError(
            f"this is no record of a traced boot: {error}",
            where=where,
            fix="make it anew: minbuild boot --trace",
        ) from error
