"""Assembly of the root file system from a closure."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from minbuild.cache.store import Store
from minbuild.errors import MalformedFile, ResolveError, combine
from minbuild.facts.config_files import build_ld_cache
from minbuild.facts.kernel_modules import MAX_MODULE_SIZE
from minbuild.facts.model import Module, PackageFiles
from minbuild.formats.compression import decompress
from minbuild.formats.root_entry import FileType
from minbuild.formats.xen_image import strip_xen
from minbuild.manifest.model import Component, LocatedName, Manifest
from minbuild.paths import RootPath, list_parents
from minbuild.resolve.builtin_tables import find_architecture, is_hypervisor_path
from minbuild.resolve.depmod import INDEX_FILES, get_module_name
from minbuild.resolve.kernel import MODULES_DIRECTORY, parse_image_version
from minbuild.resolve.loader_config import LD_SO_CACHE, LD_SO_CONF, list_cacheable
from minbuild.resolve.model import Closure, Need, NeedKind, SelectedFile, shorten_location
from minbuild.resolve.package_view import PackageView
from minbuild.rootfs.microcode import join_microcode
from minbuild.rootfs.model import RootfsNode, RootfsTree


def read_applets(busybox: bytes) -> frozenset[str]:
    """The applet names in a BusyBox binary; empty when it has no table of them.

    Source: BusyBox include/applets.h: names sorted, each ended by NUL, "[" and "[[" first.
    """
    start = busybox.find(b"\0[\0[[\0") + 1
    if not start:
        return frozenset()
    end = busybox.find(b"\0\0", start)
    names = busybox[start:end].split(b"\0")
    return frozenset(name.decode("ascii", "replace") for name in names)


def require_applets(names: Iterable[LocatedName], available: frozenset[str]) -> None:
    """Refuse applets that this BusyBox does not have.

    Raises: ResolveError, one for each such applet, with the nearest name.
    """
    problems = []
    for name in sorted(names, key=lambda name: (str(name.where), name.text)):
        if name.text not in available:
            matches = difflib.get_close_matches(name.text, sorted(available), 1)
            hint = (
                f"did you mean {matches[0]}?" if matches else "remove it, or name another package"
            )
            problems.append(
                ResolveError(
                    f"this BusyBox has no applet {name.text}", where=str(name.where), fix=hint
                )
            )
    if problems:
        raise combine(problems)


MODULE_LOADERS = frozenset(
    f"/usr/{place}/{name}" for place in ("bin", "sbin") for name in ("modprobe", "insmod")
)
UNREADABLE_SUFFIX = ".zst"
"""What BusyBox's modprobe reads is plain, gz, bz2, lzma and xz; it does not ask the kernel to unpack.

Source: BusyBox archival/libarchive/open_transformer.c, modutils/modutils.c (bb_init_module).
"""
DECOMPRESS_REASON = "BusyBox's modprobe reads no zstd"


def decompress_modules(
    nodes: Mapping[RootPath, RootfsNode], store: Store
) -> dict[RootPath, RootfsNode]:
    """Unpack modules where BusyBox loads them: the path in the package → the node in its place.

    One that is damaged, which a manifest may allow, stays as it is.
    """
    if not any(_is_busybox_link(nodes.get(RootPath(path))) for path in MODULE_LOADERS):
        return {}
    compressed = [
        node for path, node in nodes.items()
        if path.endswith(f".ko{UNREADABLE_SUFFIX}") and path.startswith("/usr/lib/modules/")
    ]  # fmt: skip
    return {
        node.path: decompressed
        for node in compressed
        if (decompressed := _decompress_node(node, nodes, store))
    }


def use_decompressed_paths(
    needs: Iterable[Need], decompressed: Mapping[RootPath, RootfsNode]
) -> Iterator[Need]:
    """The needs of a tree with decompressed modules; the evidence of their needs says so."""
    for need in needs:
        path = RootPath(need.needed_by)
        needed_by = decompressed[path].path if path in decompressed else need.needed_by
        if need.path not in decompressed:
            yield replace(need, needed_by=needed_by) if path in decompressed else need
            continue
        name = need.path.rpartition("/")[2]
        evidence = f"{need.evidence}; {name} unpacked: {DECOMPRESS_REASON}"
        yield Need(decompressed[need.path].path, needed_by, need.kind, evidence)


def _is_busybox_link(node: RootfsNode | None) -> bool:
    return (
        node is not None
        and node.kind is FileType.LINK
        and node.target.rpartition("/")[2] == "busybox"
    )


def _decompress_node(
    node: RootfsNode, nodes: Mapping[RootPath, RootfsNode], store: Store
) -> RootfsNode | None:
    path = RootPath(node.path.removesuffix(UNREADABLE_SUFFIX))
    if path in nodes:
        return None
    if node.kind is not FileType.FILE:
        return replace(node, path=path, target=node.target.removesuffix(UNREADABLE_SUFFIX))
    try:
        content = decompress(store.require(node.sha256), UNREADABLE_SUFFIX, MAX_MODULE_SIZE)
    except MalformedFile:
        return None
    return replace(node, path=path, size=len(content), sha256=store.add(content))


BUSYBOX = RootPath("/usr/bin/busybox")


def make_rootfs(
    manifest: Manifest, closure: Closure, packages: Sequence[PackageFiles], store: Store
) -> RootfsTree:
    """Make the root file system of a closure whose contents are in the store.

    Raises: ResolveError without a kernel, or when BusyBox lacks an applet.
    """
    nodes = {path: make_node(selected) for path, selected in closure.files.items()}
    decompressed = decompress_modules(nodes, store)
    needs = list(
        use_decompressed_paths(closure.needs, decompressed) if decompressed else closure.needs
    )
    modules = {
        decompressed[path].path if path in decompressed else path: facts
        for path, facts in _read_modules(closure, packages).items()
    }
    nodes = {node.path: node for node in (decompressed.get(path, nodes[path]) for path in nodes)}
    hypervisor = _find_hypervisor_image(nodes)
    if hypervisor is not None:
        nodes[hypervisor] = _strip_hypervisor(nodes[hypervisor], store)
    for generated, edges in _make_indices(manifest, closure, modules, store):
        if generated.path not in nodes:
            nodes[generated.path] = generated
            needs.extend(edges)
    for generated, edge in _make_loader_cache(closure, packages, store, manifest.arch):
        nodes[generated.path] = generated
        needs.append(edge)
    if any(component.microcode for component in manifest.components):
        nodes, needs = join_microcode(manifest.components, nodes, needs, store)
    _check_applets(manifest, nodes.get(BUSYBOX), store)
    return RootfsTree(
        nodes=tuple(nodes[path] for path in sorted(nodes)),
        needs=tuple(sorted(needs)),
        kernel_image=_find_kernel_image(manifest, closure),
        kernel_release=closure.kernel_release,
        hypervisor_image=hypervisor,
        unexplained_sonames=closure.unexplained_sonames,
        optional_files=closure.optional_files,
        decompressed_modules=tuple(sorted(node.path for node in decompressed.values())),
    )


def _make_indices(
    manifest: Manifest, closure: Closure, modules: Mapping[RootPath, Module], store: Store
) -> Iterator[tuple[RootfsNode, Sequence[Need]]]:
    """Files in which programs look modules up, each with its needs."""
    if modules or not manifest.kernel.is_built:  # else nothing looks for modules
        for component in manifest.components:
            yield from _make_module_index(component, closure, modules, store)
    requests = _make_request_index(manifest, closure, modules, store)
    if requests is not None:
        yield requests


def make_node(selected: SelectedFile) -> RootfsNode:
    """One chosen path as a node of a tree."""
    entry = selected.entry
    return RootfsNode(
        path=entry.path,
        kind=entry.kind,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size if entry.kind is FileType.FILE else 0,
        sha256=entry.sha256 if entry.kind is FileType.FILE else "",
        target=entry.target,
        package=selected.package,
        component=selected.component,
        capability=entry.capability,
    )


def _make_module_index(
    component: Component, closure: Closure, modules: Mapping[RootPath, Module], store: Store
) -> Iterable[tuple[RootfsNode, list[Need]]]:
    for name in component.module_index:
        yield _make_index_file(
            _find_maker(name)(modules, _get_modules_directory(closure)),
            RootPath(f"{_get_modules_directory(closure)}/{name.text}"),
            (component.name, component.name, f"module-index {shorten_location(name.where)}"),
            closure,
            store,
        )


ALIAS_FILE, DEPENDENCY_FILE = "modules.alias", "modules.dep"


def _make_request_index(
    manifest: Manifest, closure: Closure, modules: Mapping[RootPath, Module], store: Store
) -> tuple[RootfsNode, list[Need]] | None:
    """The alias index, where the kernel asks modprobe for an alias that no module is called by.

    Only beside a modules.dep: without one, nothing in the image looks modules up. Devices (scsi:…)
    are told to user space, which has loaded what there is; the kernel asks nobody for them.
    """
    reads_index = any(
        name.text == DEPENDENCY_FILE
        for component in manifest.components
        for name in component.module_index
    )
    for need in closure.needs if reads_index else ():
        start, equals, alias = need.evidence.partition("requests=")
        if not equals or start or ":" in alias or need.kind is not NeedKind.REQUEST:
            continue
        if get_module_name(need.path) != alias.replace("-", "_"):
            component = closure.files[need.path].component
            path = RootPath(f"{_get_modules_directory(closure)}/{ALIAS_FILE}")
            content = INDEX_FILES[ALIAS_FILE](modules, _get_modules_directory(closure))
            reason = (component, need.needed_by, f"the kernel asks modprobe for {alias}")
            return _make_index_file(content, path, reason, closure, store)
    return None


def _get_modules_directory(closure: Closure) -> str:
    return f"{MODULES_DIRECTORY}/{closure.kernel_release}"


def _make_index_file(
    content: bytes, path: RootPath, reason: tuple[str, str, str], closure: Closure, store: Store
) -> tuple[RootfsNode, list[Need]]:
    """A file of the index; `reason`: the component that owns it, who needs it, the evidence."""
    component, needed_by, evidence = reason
    index_node = RootfsNode(
        path=path, kind=FileType.FILE, mode=0o644, uid=0, gid=0, size=len(content),
        sha256=store.add(content), target="", package="", component=component,
    )  # fmt: skip
    edges = [Need(path, needed_by, NeedKind.GENERATED, evidence)]
    edges += [
        Need(parent, path, NeedKind.PARENT, "directory")
        for parent in list_parents(path)
        if parent in closure.files
    ]
    return index_node, edges


def _make_loader_cache(
    closure: Closure, packages: Sequence[PackageFiles], store: Store, arch: str
) -> Iterable[tuple[RootfsNode, Need]]:
    """The cache of ld.so.conf's directories: the loader itself never reads ld.so.conf."""
    conf = closure.files.get(LD_SO_CONF)
    if conf is None or LD_SO_CACHE in closure.files:
        return
    rows = list_cacheable(PackageView(packages), closure.files, find_architecture(arch))
    if rows:
        content = build_ld_cache(rows, find_architecture(arch).cache_flags)
        cache_node = RootfsNode(
            path=LD_SO_CACHE, kind=FileType.FILE, mode=0o644, uid=0, gid=0, size=len(content),
            sha256=store.add(content), target="", package="", component=conf.component,
        )  # fmt: skip
        yield (
            cache_node,
            Need(LD_SO_CACHE, LD_SO_CONF, NeedKind.GENERATED, "as ldconfig would make it"),
        )


def _find_maker(name: LocatedName) -> Callable[[Mapping[RootPath, Module], str], bytes]:
    if name.text not in INDEX_FILES:
        raise ResolveError(
            f"{name.text} is no file of the module index that minbuild makes",
            where=str(name.where),
            fix=f"use one of {', '.join(sorted(INDEX_FILES))}",
        )
    return INDEX_FILES[name.text]


def _read_modules(closure: Closure, packages: Sequence[PackageFiles]) -> dict[RootPath, Module]:
    """The modules that the index lists: those of the kernel, also where they are links."""
    owners = {owner.owner: owner for owner in packages}
    top = f"{MODULES_DIRECTORY}/{closure.kernel_release}/"
    paths = [path for path in closure.files if path.startswith(top) and ".ko" in path]
    view = PackageView(packages) if any(_is_link(closure, path) for path in paths) else None
    modules = {}
    for path in paths:
        real = (view.resolve_links(path) or path) if view is not None else path
        selected = closure.files.get(real)
        facts = owners[selected.package].facts(real) if selected is not None else None
        if isinstance(facts, Module):
            modules[path] = facts
    return modules


def _is_link(closure: Closure, path: RootPath) -> bool:
    return closure.files[path].entry.kind is FileType.LINK


def _check_applets(manifest: Manifest, busybox: RootfsNode | None, store: Store) -> None:
    names = [name for component in manifest.components for name in component.applets]
    if names and busybox is not None:
        require_applets(names, read_applets(store.require(busybox.sha256)))


def _find_hypervisor_image(nodes: Mapping[RootPath, RootfsNode]) -> RootPath | None:
    """Xen, if the host starts it. Raises: ResolveError when there are two."""
    images = sorted(path for path in nodes if is_hypervisor_path(path))
    if len(images) > 1:
        raise ResolveError(
            f"the host has several hypervisors: {', '.join(images)}",
            fix="pin one version of Xen, or name the file of one in the component",
        )
    return images[0] if images else None


def _strip_hypervisor(node: RootfsNode, store: Store) -> RootfsNode:
    """Xen without what only a debugger reads: nine tenths of Debian's file."""
    content = strip_xen(store.require(node.sha256), node.path)
    return replace(node, size=len(content), sha256=store.add(content))


def _find_kernel_image(manifest: Manifest, closure: Closure) -> RootPath:
    for path in closure.files:
        if parse_image_version(path):
            return path
    raise ResolveError(
        f"{manifest.kernel.package} brings no kernel image",
        where=str(manifest.kernel.where),
        fix="name a package that contains one: kernel: {package: linux-image-cloud-amd64}",
    )
