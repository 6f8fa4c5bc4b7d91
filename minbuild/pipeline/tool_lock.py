"""Which tools a build locks and lays down: none that only formats ask for that nobody wants."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from minbuild.archive import lockfile
from minbuild.archive.index import Index, open_index
from minbuild.archive.model import Lock, Package
from minbuild.archive.release import ReleaseExpired
from minbuild.cache.kinds import RecordKind
from minbuild.image import ukify, write
from minbuild.manifest.image_settings import (
    Compression,
    DiskSettings,
    ImageFormat,
    ImageSettings,
    PartitionSettings,
    PartitionType,
)
from minbuild.manifest.model import Archive, Location, Manifest, Tool, Waiver
from minbuild.manifest.tool_documents import load_tools
from minbuild.pipeline.lock_policy import check_source_packages, is_allowed
from minbuild.pipeline.package_selection import PackageSelection, PackageSource, select_packages
from minbuild.pipeline.package_sources import (
    derive_tools_manifest,
    has_only_host_suites,
    locate_mirror,
    open_tool_index,
)
from minbuild.pipeline.session import BuildRequest, Session, detect_machine_arch
from minbuild.resolve import error_messages
from minbuild.resolve.policy import ResolvePolicy
from minbuild.resolve.root_selection import list_tool_roots

ALWAYS_LOCKED_FORMATS = (ImageFormat.UKI, ImageFormat.RAW)
"""Formats whose tools every lock pins, so that it serves the usual formats and the lab."""
UNLOCKED_TOOLS = frozenset({"e2fsck", "fsck.erofs", "lz4", "lzop", "rpm", "sqfs2tar"})
"""They read what a build starts from: no lock pins them, they are the newest."""
ANY_DISK = DiskSettings(
    partitions=tuple(PartitionSettings(Location("", 1, 1), content) for content in PartitionType),
    bios=True,
)


def select_tools(image: ImageSettings, *, lab: bool) -> tuple[Tool, ...]:
    """The tools that write what `image` asks for, and with `lab` those that boot it.

    Every compression's is among them, since the command line may ask for another one.
    """
    needed = _list_tool_names((*ALWAYS_LOCKED_FORMATS, *image.formats), image.disk)
    special = _list_tool_names(tuple(ImageFormat), ANY_DISK) - needed
    special |= UNLOCKED_TOOLS
    if image.sign is None:
        special.add(ukify.SIGN_TOOL)
    return tuple(
        tool
        for tool in load_tools()
        if tool.name in needed or (lab if tool.lab else tool.name not in special)
    )


def find_tools(name: str) -> tuple[Tool, ...]:
    """The one tool of that name, if there is one."""
    return tuple(tool for tool in load_tools() if tool.name == name)


def _list_tool_names(image_formats: tuple[ImageFormat, ...], disk: DiskSettings) -> set[str]:
    return {
        name
        for compression in Compression
        for name in write.list_format_tools(image_formats, compression, disk)
    }


TOOL_POLICY = ResolvePolicy(
    allow_missing=(
        Waiver(
            "/usr/bin/env", "the toolbox starts a script's interpreter itself", Location("", 1, 1)
        ),
    )
)
"""What tools never need here: coreutils, 3 MB to fetch, would come for `env` alone."""


def select_tool_packages(tools: Sequence[Tool], source: PackageSource) -> PackageSelection:
    """Open the packages of the toolbox.

    Raises: ResolveError when a tool's need is met by no package.
    """
    requested_roots = [root for tool in tools for root in list_tool_roots(tool)]
    selection = select_packages(
        requested_roots, source, arch=detect_machine_arch(), policy=TOOL_POLICY
    )
    if selection.closure.unmet_needs:
        raise error_messages.make_unresolved_error(selection.closure, selection.files)
    return selection


def lock_tools_only(request: BuildRequest, session: Session, tools: Sequence[Tool] = ()) -> Lock:
    """A lock of tools alone, kept in the store, for images without a lock beside them.

    `tools` are by default those that the usual formats and the lab need.
    """
    requested = tools or select_tools(ImageSettings(), lab=True)
    key_parts = [detect_machine_arch(), *(repr(tool.packages) for tool in requested)]
    key = hashlib.sha256("\n".join(key_parts).encode()).hexdigest()
    record = session.store.get(RecordKind.TOOLS_LOCK, key)
    if record is not None:
        return lockfile.parse_lock(record.decode(), session.store.current_file)
    archive = Archive()
    index = open_index(
        archive,
        detect_machine_arch(),
        locate_mirror(request),
        session.store,
        offline=request.offline,
        progress=session.progress,
        allow_downgrade=request.allow_downgrade,
    )
    source = PackageSource(index, locate_mirror(request), session, {}, request.offline)
    selection = select_tool_packages(requested, source)
    check_source_packages(request, selection.packages, (archive,), source)
    lock = Lock(detect_machine_arch(), index.suites, (), selection.packages)
    session.store.put(RecordKind.TOOLS_LOCK, {key: lockfile.render_lock(lock).encode()})
    return lock


def open_package_source(
    request: BuildRequest,
    manifest: Manifest,
    index: Index,
    session: Session,
    pins: Sequence[Package],
) -> PackageSource:
    pins_by_name = {package.name: package for package in pins if is_allowed(manifest, package)}
    return PackageSource(
        index, locate_mirror(request, manifest.arch), session, pins_by_name, request.offline
    )


def open_tool_source(
    request: BuildRequest,
    manifest: Manifest,
    host_source: PackageSource,
    session: Session,
    pins: Sequence[Package],
) -> PackageSource:
    must_be_debian = not manifest.trusted and manifest.archives
    if (
        detect_machine_arch() == manifest.arch
        and not manifest.archive.has_own_tool_suites
        and not must_be_debian
    ):
        return host_source
    tool_manifest, index = (
        derive_tools_manifest(manifest),
        open_tool_archives(request, manifest, session),
    )
    tool_pins = [package for package in pins if package.suite in tool_manifest.archive.suites]
    return open_package_source(
        request,
        tool_manifest,
        index,
        session,
        tool_pins if manifest.archive.has_own_tool_suites else pins,
    )


def open_tool_archives(request: BuildRequest, manifest: Manifest, session: Session) -> Index:
    """Open the archives that the toolbox of a manifest comes from.

    Raises: ArchiveError.
    """
    try:
        tool_manifest = derive_tools_manifest(manifest)
        archives = (tool_manifest.archive, *tool_manifest.archives)
        index = open_tool_index(request, manifest.archive, archives, session)
        return replace(index, pins=tool_manifest.pins)
    except ReleaseExpired as error:
        if not has_only_host_suites(manifest.archive):
            error.fix = (
                "take the tools from suites that hold (`tools:` below `archive:`), check this "
                "machine's clock, or use another mirror: `check-valid-until` is not for tools"
            )
        raise
