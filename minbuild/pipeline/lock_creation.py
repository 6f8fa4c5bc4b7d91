"""Lock of a manifest and its tools: the one beside it, or a new one from the newest packages of its
archives."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from minbuild.archive import lockfile
from minbuild.archive.index import Index, open_index
from minbuild.archive.model import Lock, Package
from minbuild.archive.release import ReleaseExpired
from minbuild.cache.records import RecordKind
from minbuild.data import data_directory
from minbuild.errors import ArchiveError, UsageError
from minbuild.facts.rendered_files import collect_rendered_files
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
from minbuild.manifest.shipped_manifests import load_tools
from minbuild.pipeline.lock_policy import check_source_packages, is_allowed, record_used_lock
from minbuild.pipeline.locked_tools import list_depended_packages
from minbuild.pipeline.named_paths import PathFollower, check_path_rules
from minbuild.pipeline.package_selection import PackageSelection, PackageSource, select_packages
from minbuild.pipeline.package_sources import (
    derive_tools_manifest,
    has_only_host_suites,
    locate_mirror,
    open_archives,
    open_tool_index,
)
from minbuild.pipeline.provider_search import ProviderSearch
from minbuild.pipeline.resolved_host import ResolvedHost
from minbuild.pipeline.session import BuildRequest, Session, detect_machine_arch, locate_lock
from minbuild.pipeline.shell_check import drop_used_waivers, make_content_reader
from minbuild.resolve import error_messages
from minbuild.resolve.model import NeedKind, Root
from minbuild.resolve.policy import ResolvePolicy, make_policy
from minbuild.resolve.root_selection import KERNEL_COMPONENT, list_roots, list_tool_roots

ALWAYS_LOCKED_FORMATS = (ImageFormat.UKI, ImageFormat.RAW)
"""Formats whose tools every lock pins, so that it serves the usual formats and the lab."""
UNLOCKED_TOOLS = frozenset({"e2fsck", "fsck.erofs", "lz4", "lzop", "rpm", "sqfs2tar"})
"""They read what a build starts from: no lock pins them, they are the newest."""
ANY_DISK = DiskSettings(
    partitions=tuple(PartitionSettings(Location("", 1, 1), content) for content in PartitionType),
    bios=True,
)


KERNEL_TOOL, GUEST_KERNEL = "make", "guest-kernel"
"""What compiles a kernel, and the kernel of the lab's guest on a host whose own is built."""


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


TOOLCHAIN = data_directory("manifests") / "toolchain"
"""Tools that only the lock of a host whose kernel is built pins."""


def find_kernel_tools(name: str) -> tuple[Tool, ...]:
    """The one tool of that name for kernels that are built."""
    return tuple(tool for tool in load_tools(TOOLCHAIN) if tool.name == name)


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


def load_or_create_lock(request: BuildRequest, manifest: Manifest, session: Session) -> Lock | None:
    """Read the lock of a manifest, or write one; None for an installed root, which has none.

    Raises: UsageError for `--locked` without a lock; ArchiveError; ResolveError.
    """
    if manifest.archive.root:
        return None
    lock_path = locate_lock(request, manifest)
    if lock_path.exists():
        return lockfile.read_lock(lock_path)
    if request.locked:
        raise UsageError(
            "there is no lock, and --locked asks for one",
            where=str(lock_path),
            fix=f"write it first: minbuild lock {request.manifest_argument}",
        )
    lock = create_lock(request, manifest, session).lock
    lockfile.write_lock(lock_path, lock)
    record_used_lock(lockfile.render_lock(lock).encode(), session.store)
    session.progress.note(f"wrote {lock_path}: {len(lock.packages)} packages for the host, "
                        f"{len(lock.toolbox)} for the toolbox")  # fmt: skip
    return lock


def load_or_select_lock(request: BuildRequest, manifest: Manifest, session: Session) -> Lock:
    """Read the lock of a manifest, or make one of the newest packages; nothing is written.

    A lock that is made here pins no toolbox; that of an installed root pins nothing.
    Raises: ArchiveError; ResolveError when a need is met by no package.
    """
    if manifest.archive.root:
        return Lock(manifest.arch, (), (), ())
    lock_path = locate_lock(request, manifest)
    if lock_path.exists():
        return lockfile.read_lock(lock_path)
    return _resolve_newest(request, manifest, session, ())[0].lock


def create_lock(
    request: BuildRequest, manifest: Manifest, session: Session, pins: Sequence[Package] = ()
) -> ResolvedHost:
    """Choose packages for the host and the toolbox; `pins` stay as they are.

    Raises: ArchiveError; ResolveError when a need is met by no package.
    """
    tool_suites = set(manifest.archive.tools) - set(manifest.archive.suites)
    host_pins = [package for package in pins if package.suite not in tool_suites]
    resolved, host_source = _resolve_newest(request, manifest, session, host_pins)
    tool_source = open_tool_source(request, manifest, host_source, session, pins)
    toolbox = _choose_tool_packages(manifest, tool_source)
    tool_manifest = derive_tools_manifest(manifest)
    archives = (tool_manifest.archive, *tool_manifest.archives, Archive())
    check_source_packages(request, toolbox, archives, tool_source)
    return replace(resolved, lock=replace(resolved.lock, toolbox=toolbox))


def _choose_tool_packages(manifest: Manifest, source: PackageSource) -> tuple[Package, ...]:
    """The packages of the tools that a build runs, opened; those of the lab by their dependencies,
    since only `boot` needs them. Sorted by name."""
    tools = select_tools(manifest.image, lab=False)
    lab_tools = [one for one in select_tools(manifest.image, lab=True) if one not in tools]
    if manifest.kernel.is_built:
        tools += load_tools(TOOLCHAIN)
    selection = select_tool_packages(tools, source)
    lab_roots = [root for tool in lab_tools for root in list_tool_roots(tool)]
    packages = {one.name: one for one in list_depended_packages(lab_roots, source)}
    packages |= {one.name: one for one in selection.packages}
    return tuple(packages[name] for name in sorted(packages))


def list_locked_roots(manifest: Manifest) -> list[Root]:
    """The roots that packages are chosen for: of a kernel that is built there is no package."""
    names_in_kernel = {NeedKind.MODULE, NeedKind.KCONFIG}
    return [
        root
        for root in list_roots(manifest)
        if not manifest.kernel.is_built
        or (root.kind not in names_in_kernel and root.component != KERNEL_COMPONENT)
    ]


def find_kernel_source(manifest: Manifest, source: PackageSource) -> tuple[Package, ...]:
    """The package of the source of a kernel that is built; () for another kernel.

    Raises: ArchiveError when no suite has it, with the sources that there are.
    """
    if not manifest.kernel.is_built:
        return ()
    name = manifest.kernel.package
    package = source.find_package(name)
    if package is None:
        similar = source.index.find_similar_name(name)
        raise ArchiveError(
            f"there is no package {name} in {source.index.name}",
            where=str(manifest.kernel.where),
            fix=f"did you mean {similar}?" if similar else "name a package linux-source-VERSION",
        )
    return (package,)


def _resolve_newest(
    request: BuildRequest, manifest: Manifest, session: Session, pins: Sequence[Package]
) -> tuple[ResolvedHost, PackageSource]:
    index = open_archives(request, manifest, manifest.arch, session)
    source = open_package_source(request, manifest, index, session, pins)
    providers = ProviderSearch(manifest, index, source.mirror, session, request.offline)
    source = replace(source, find_providers=providers.find_packages)
    manifest_files = collect_rendered_files(
        (file for one in manifest.components for file in one.files), session.store
    )
    selection = select_packages(
        list_locked_roots(manifest),
        source,
        arch=manifest.arch,
        manifest_files=[manifest_files],
        policy=make_policy(manifest),
        follower=PathFollower(manifest.paths, session.store) if manifest.paths else None,
    )
    check_path_rules(selection.closure, manifest)
    files = (manifest_files, *selection.files)
    read_content = make_content_reader(selection.packages, session.store, source.extract_to_cache)
    closure = drop_used_waivers(
        selection.closure, files, manifest.allow_missing, read_content, session.store
    )
    if closure.unmet_needs or closure.unused_waivers:
        raise providers.add_to_error(error_messages.make_unresolved_error(closure, files), closure)
    packages = selection.packages + find_kernel_source(manifest, source)
    check_source_packages(request, packages, (manifest.archive, *manifest.archives), source)
    lock = Lock(manifest.arch, source.index.suites, packages, ())
    return ResolvedHost(manifest, lock, files, closure), source
