"""The toolbox of a lock: resolved once, brought into the store when it is first used."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.archive.mirror import DEBIAN, SECURITY
from minbuild.archive.model import Lock, Package
from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import MinbuildError, ResolveError, UsageError
from minbuild.facts.model import FileEntry
from minbuild.formats.root_entry import FileType
from minbuild.image.write import add_prerequisites
from minbuild.manifest.image_settings import ImageFormat, ImageSettings
from minbuild.manifest.input_files import TRUST_FIX
from minbuild.manifest.model import TOOL_ARCHIVE_NAME, Archive, Manifest, Tool
from minbuild.paths import RootPath
from minbuild.pipeline.lock_creation import TOOL_POLICY, select_tools
from minbuild.pipeline.lock_policy import check_tool_packages
from minbuild.pipeline.locked_tools import resolve_locked_roots
from minbuild.pipeline.package_sources import load_package_files
from minbuild.pipeline.resolved_host import extract_chosen_files
from minbuild.pipeline.session import (
    BuildRequest,
    Session,
    detect_machine_arch,
    digest_source_code,
    locate_lock,
)
from minbuild.resolve import error_messages
from minbuild.resolve.model import SelectedFile
from minbuild.resolve.root_selection import list_tool_roots
from minbuild.toolbox.preload import PreloadingToolbox
from minbuild.toolbox.toolbox import Toolbox


def open_toolbox(
    request: BuildRequest,
    lock: Lock,
    session: Session,
    *,
    image: ImageSettings | None = None,
    lab: bool = False,
) -> Toolbox:
    """The tools that write what `image` asks for, or with `lab` those and the lab's.

    Raises: ResolveError when the lock does not hold what a tool needs.
    """
    return open_tools(request, lock, session, select_tools(image or ImageSettings(), lab=lab))


def preload_ukify(request: BuildRequest, manifest: Manifest, session: Session) -> None:
    """Begin to check the toolbox of a lock that is there, and to load ukify, beside other work.

    `Session.stop_tools_at_end` ends it. An error is raised when the tools are used, not here.
    """
    lock_path = locate_lock(request, manifest)
    if ImageFormat.UKI not in add_prerequisites(manifest.image.formats) or not lock_path.exists():
        return
    with contextlib.suppress(MinbuildError):
        lock = lockfile.read_lock(lock_path)
        _check_tool_origin(request, lock)
        tools = select_tools(manifest.image, lab=False)
        if (
            session.store.get(
                RecordKind.TOOL_CLOSURE, _digest_tools(lock.toolbox, tools, session.store)
            )
            is not None
        ):
            _get_toolbox(request, lock, session, tools).preload("ukify", session.parallel_builds)


def open_tools(
    request: BuildRequest, lock: Lock, session: Session, tools: Sequence[Tool]
) -> Toolbox:
    """These tools, out of the packages of a lock.

    Raises: ResolveError when the lock does not hold what a tool needs.
    """
    _check_tool_origin(request, lock)
    check_tool_packages(request, lock.toolbox, session)
    toolbox = _get_toolbox(request, lock, session, tools)
    if not toolbox.install_path.is_dir():
        session.progress.step("bringing the toolbox")
        extract_chosen_files(
            request, lock.toolbox, _resolve_tools(request, lock, tools, session), session
        )
        toolbox.invalidate()
    return toolbox


def locate_tools(
    request: BuildRequest, lock: Lock, session: Session, tools: Sequence[Tool]
) -> Path:
    """Where the tree of these tools lies, or will lie once they are opened."""
    return _get_toolbox(request, lock, session, tools).install_path


def _check_tool_origin(request: BuildRequest, lock: Lock) -> None:
    """Refuse tools that a manifest vouches for by itself, when it may not choose what runs here.

    Raises: UsageError.
    """
    if request.chooses_tools or not lock.toolbox:
        return
    main = next(iter(request.archives), Archive())
    tools_archive = main.tools_archive or main
    debians = {
        DEBIAN,
        SECURITY,
        TOOL_ARCHIVE_NAME,
    }  # what TOOLS is by Debian's keys, the index vouches for
    foreign = next((one for one in lock.toolbox if one.root not in debians), None)
    if foreign is None and not (
        (tools_archive.signed_by or tools_archive.trusted) and _is_signed_for_manifest(lock, main)
    ):
        return
    origin = f"the archive {foreign.root}" if foreign else "an archive with keys of its own"
    name = (foreign or lock.toolbox[0]).name
    raise UsageError(
        f"the manifest takes tools from {origin} ({name}), and tools run on this machine",
        where=str(request.manifest),
        fix=f"allow it: --allow-code, or {TRUST_FIX}",
    )


def _is_signed_for_manifest(lock: Lock, main: Archive) -> bool:
    """Whether tools come by the keys of the manifest, and not by Debian's."""
    return main.tools_archive is not None or any(
        one.root != TOOL_ARCHIVE_NAME for one in lock.toolbox
    )


def _get_toolbox(
    request: BuildRequest, lock: Lock, session: Session, tools: Sequence[Tool]
) -> PreloadingToolbox:
    """The tools whether or not they lie in the store; those of one lock once in a run."""
    key = _digest_tools(lock.toolbox, tools, session.store), lock.epoch
    if key not in session.toolboxes:
        entries = [one.entry for one in _resolve_tools(request, lock, tools, session)]
        toolbox = PreloadingToolbox(
            tools, entries, session.store, arch=detect_machine_arch(), epoch=lock.epoch
        )
        session.toolboxes[key] = toolbox
    return session.toolboxes[key]


def _resolve_tools(
    request: BuildRequest, lock: Lock, tools: Sequence[Tool], session: Session
) -> tuple[SelectedFile, ...]:
    """What the tools need, remembered under what it depends on."""
    key = _digest_tools(lock.toolbox, tools, session.store)
    record = session.store.get(RecordKind.TOOL_CLOSURE, key)
    if record is not None:
        return decode_tool_files(json.loads(record))
    closure, files = resolve_locked_roots(
        [root for tool in tools for root in list_tool_roots(tool)],
        lock.toolbox,
        lambda packages: load_package_files(request, packages, session),
        arch=detect_machine_arch(),
        policy=TOOL_POLICY,
    )
    if closure.unmet_needs:
        # the waivers are this program's own: none is the user's to remove
        error: ResolveError = error_messages.make_unresolved_error(
            replace(closure, unused_waivers=()), files
        )
        error.fix = f"pin what the tools need: minbuild lock {request.manifest}"
        raise error
    selected_files = tuple(closure.files.values())
    session.store.put(
        RecordKind.TOOL_CLOSURE,
        {key: json.dumps([_encode_file(one) for one in selected_files]).encode()},
    )
    return selected_files


def _digest_tools(packages: Sequence[Package], tools: Sequence[Tool], store: Store) -> str:
    parts = [
        *(repr(package) for package in packages),
        *(repr(tool) for tool in tools),
        digest_source_code(store),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _encode_file(file: SelectedFile) -> list[object]:
    entry = file.entry
    return [
        entry.path,
        entry.kind,
        entry.mode,
        entry.size,
        entry.sha256,
        entry.target,
        file.package,
    ]


def decode_tool_files(rows: list[list[str]]) -> tuple[SelectedFile, ...]:
    """What a record of kind toolbox says."""
    return tuple(_decode_file(row) for row in rows)


def _decode_file(row: list[str]) -> SelectedFile:
    path, kind, mode, size, sha256, target, package = row
    entry = FileEntry(
        RootPath(path), FileType(kind), int(mode), size=int(size), sha256=sha256, target=target
    )
    return SelectedFile(entry, package, "")
