"""The toolbox of a lock: resolved once, brought into the store when it is first used."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.mirror import DEBIAN, SECURITY
from minbuild.archive.types import Lock, Package
from minbuild.build.contents import bring
from minbuild.build.ground import NOT_FOR_TOOLS, open_packages
from minbuild.build.request import Doors, Request, machine_arch
from minbuild.build.selection import selected
from minbuild.build.state import code
from minbuild.build.vouching import check_tools
from minbuild.errors import MinbuildError, ResolveError, UsageError
from minbuild.facts.types import Entry, Kind
from minbuild.image.formats import in_order
from minbuild.manifest.trust import HOW
from minbuild.manifest.types import TOOLS, Archive, ImageFormat, ImageWish, Manifest, Tool
from minbuild.paths import RootPath
from minbuild.resolve import explain
from minbuild.resolve.resolve import resolve
from minbuild.resolve.roots import tool_roots
from minbuild.resolve.types import Chosen
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


def begin(request: Request, place: Path, manifest: Manifest, doors: Doors) -> None:
    """Check the toolbox of a lock that is there, and load what will write the image, ahead.

    It goes on beside other work; `Doors.rest` ends it. What is wrong is told when the tools are
    used.
    """
    if ImageFormat.UKI not in in_order(manifest.image.formats) or not place.exists():
        return
    with contextlib.suppress(MinbuildError):
        lock = lockfile.read(place)
        _check_origin(request, lock)
        tools = selected(manifest.image, lab=False)
        if doors.store.get(KIND, _key(lock.toolbox, tools)) is not None:
            _toolbox(request, lock, doors, tools).begin("ukify", doors.at_once)


def lay_tools(request: Request, lock: Lock, doors: Doors, tools: Sequence[Tool]) -> Toolbox:
    """These tools, out of the packages of a lock.

    Raises: ResolveError when the lock does not hold what a tool needs.
    """
    _check_origin(request, lock)
    check_tools(request, lock.toolbox, doors)
    toolbox = _toolbox(request, lock, doors, tools)
    if not toolbox.place.is_dir():
        doors.progress.step("bringing the toolbox")
        bring(request, lock.toolbox, _closure(request, lock, tools, doors), doors)
        toolbox.forget()
    return toolbox


def _check_origin(request: Request, lock: Lock) -> None:
    """Refuse tools that a manifest vouches for by itself, when it may not choose what runs here.

    Raises: UsageError.
    """
    if request.chooses_tools or not lock.toolbox:
        return
    main = next(iter(request.archives), Archive())
    own = main.tools_archive or main
    debians = {DEBIAN, SECURITY, TOOLS}  # what TOOLS is by Debian's keys, the index vouches for
    foreign = next((one for one in lock.toolbox if one.root not in debians), None)
    if foreign is None and not ((own.signed_by or own.trusted) and _by_host(lock, main)):
        return
    origin = f"the archive {foreign.root}" if foreign else "an archive with keys of its own"
    name = (foreign or lock.toolbox[0]).name
    raise UsageError(
        f"the manifest takes tools from {origin} ({name}), and tools run on this machine",
        where=str(request.manifest),
        fix=f"allow it: --allow-code, or {HOW}",
    )


def _by_host(lock: Lock, main: Archive) -> bool:
    """Whether tools come by the keys of the manifest, and not by Debian's."""
    return main.tools_archive is not None or any(one.root != TOOLS for one in lock.toolbox)


def _toolbox(request: Request, lock: Lock, doors: Doors, tools: Sequence[Tool]) -> Toolbox:
    """The tools whether or not they lie in the store; those of one lock once in a run."""
    key = _key(lock.toolbox, tools), lock.epoch
    if key not in doors.toolboxes:
        entries = [one.entry for one in _closure(request, lock, tools, doors)]
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
        # the waivers are this program's own: none is the user's to remove
        error: ResolveError = explain.error(replace(closure, unused=()), files)
        error.fix = f"pin what the tools need: minbuild lock {request.manifest}"
        raise error
    chosen = tuple(closure.chosen.values())
    doors.store.put(KIND, {key: json.dumps([_row(one) for one in chosen]).encode()})
    return chosen


def _key(packages: Sequence[Package], tools: Sequence[Tool]) -> str:
    parts = [*(repr(package) for package in packages), *(repr(tool) for tool in tools), code()]
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
