"""The toolbox of a lock: resolved once, brought into the store when it is first used."""

import hashlib
import json
from collections.abc import Sequence

from minbuild.archive.types import Lock, Package
from minbuild.build.contents import bring
from minbuild.build.ground import NOT_FOR_TOOLS, open_packages
from minbuild.build.request import Doors, Request, machine_arch
from minbuild.build.selection import selected
from minbuild.build.state import code
from minbuild.errors import ResolveError
from minbuild.facts.types import Entry, Kind
from minbuild.manifest.types import ImageWish, Tool
from minbuild.paths import RootPath
from minbuild.resolve import explain
from minbuild.resolve.resolve import resolve
from minbuild.resolve.roots import tool_roots
from minbuild.resolve.types import Chosen
from minbuild.toolbox.lay import tree_key
from minbuild.toolbox.toolbox import Toolbox

KIND = "toolbox/1"


def open_toolbox(
    request: Request,
    lock: Lock,
    doors: Doors,
    *,
    image: ImageWish | None = None,
    lab: bool = False,
) -> Toolbox:
    """The tools that write what `image` asks for, or with `lab` those and the lab's.

    Raises: ResolveError when the lock does not hold what a tool needs.
    """
    return lay_tools(request, lock, doors, selected(image or ImageWish(), lab=lab))


def lay_tools(request: Request, lock: Lock, doors: Doors, tools: Sequence[Tool]) -> Toolbox:
    """These tools, out of the packages of a lock.

    Raises: ResolveError when the lock does not hold what a tool needs.
    """
    chosen = _closure(request, lock, tools, doors)
    entries = [one.entry for one in chosen]
    tree = tree_key(entries)
    key = (tree, tuple(tools), lock.epoch)
    if not doors.store.tree(tree).is_dir():
        doors.progress.step("bringing the toolbox")
        bring(request, lock.toolbox, chosen, doors)
        doors.toolboxes.pop(key, None)
    if key not in doors.toolboxes:
        toolbox = Toolbox(tools, entries, doors.store, arch=machine_arch(), epoch=lock.epoch)
        doors.toolboxes[key] = toolbox
    return doors.toolboxes[key]


def _closure(
    request: Request, lock: Lock, tools: Sequence[Tool], doors: Doors
) -> tuple[Chosen, ...]:
    """What the tools need, remembered under what it depends on."""
    key = _key(lock.toolbox, tools)
    kept = doors.store.get(KIND, key)
    if kept is not None:
        return read_rows(json.loads(kept))
    files = open_packages(request, lock.toolbox, doors)
    roots = [root for tool in tools for root in tool_roots(tool)]
    closure = resolve(roots, files, arch=machine_arch(), allow_missing=NOT_FOR_TOOLS)
    if closure.missing:
        error: ResolveError = explain.error(closure, files)
        error.fix = f"pin what the tools need: minbuild lock {request.manifest}"
        raise error
    chosen = tuple(closure.chosen.values())
    doors.store.put(KIND, {key: json.dumps([_row(one) for one in chosen]).encode()})
    return chosen


def _key(packages: Sequence[Package], tools: Sequence[Tool]) -> str:
    parts = [*(package.sha256 for package in packages), *(repr(tool) for tool in tools), code()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _row(one: Chosen) -> list[object]:
    entry = one.entry
    return [entry.path, entry.kind, entry.mode, entry.size, entry.sha256, entry.target, one.package]


def read_rows(rows: list[list[str]]) -> tuple[Chosen, ...]:
    """What a record of kind toolbox says."""
    return tuple(_read(row) for row in rows)


def _read(row: list[str]) -> Chosen:
    path, kind, mode, size, sha256, target, package = row
    entry = Entry(
        RootPath(path), Kind(kind), int(mode), size=int(size), sha256=sha256, target=target
    )
    return Chosen(entry, package, "")
