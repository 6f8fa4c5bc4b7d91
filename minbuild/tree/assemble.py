"""How a closure becomes the tree of the running host."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from minbuild.errors import ResolveError
from minbuild.facts.ldconfig import write_cache
from minbuild.facts.types import Files, Kind, Module
from minbuild.manifest.types import Component, Manifest, Name
from minbuild.paths import RootPath, parents
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.configured import CACHE, CONF, cacheable
from minbuild.resolve.kernel import MODULES, image_version
from minbuild.resolve.machine import machine
from minbuild.resolve.place import place
from minbuild.resolve.types import Chosen, Closure, Need, NeedKind
from minbuild.store import Store
from minbuild.tree import applets, unpacked
from minbuild.tree.modindex import INDEX
from minbuild.tree.types import Node, Tree

BUSYBOX = RootPath("/usr/bin/busybox")


def assemble(manifest: Manifest, closure: Closure, files: Sequence[Files], store: Store) -> Tree:
    """Make the host's tree of a closure whose contents the store holds.

    Raises: ResolveError without a kernel, or when BusyBox lacks an applet.
    """
    nodes = {path: node(chosen) for path, chosen in closure.chosen.items()}
    plain = unpacked.moved(nodes, store)
    needs = list(unpacked.renamed(closure.needs, plain)) if plain else list(closure.needs)
    modules = {
        plain[path].path if path in plain else path: facts
        for path, facts in _modules(closure, files).items()
    }
    for path, one in plain.items():
        del nodes[path]
        nodes[one.path] = one
    for component in manifest.components:
        for made, edges in _module_index(component, closure, modules, store):
            if made.path not in nodes:
                nodes[made.path] = made
                needs.extend(edges)
    for made, edge in _loader_cache(closure, files, store, manifest.arch):
        nodes[made.path] = made
        needs.append(edge)
    _check_applets(manifest, nodes.get(BUSYBOX), store)
    return Tree(
        nodes=tuple(nodes[path] for path in sorted(nodes)),
        needs=tuple(sorted(needs)),
        kernel=_kernel(manifest, closure),
        release=closure.kernel,
        maybe_dlopen=closure.maybe_dlopen,
        possible=closure.possible,
        unpacked=tuple(sorted(one.path for one in plain.values())),
    )


def node(chosen: Chosen) -> Node:
    """One chosen path as a node of a tree."""
    entry = chosen.entry
    return Node(
        path=entry.path,
        kind=entry.kind,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size if entry.kind is Kind.FILE else 0,
        sha256=entry.sha256 if entry.kind is Kind.FILE else "",
        target=entry.target,
        package=chosen.package,
        component=chosen.component,
        capability=entry.capability,
    )


def _module_index(
    component: Component, closure: Closure, modules: Mapping[RootPath, Module], store: Store
) -> Iterable[tuple[Node, list[Need]]]:
    if not component.module_index:
        return
    top = RootPath(f"/usr/lib/modules/{closure.kernel}")
    for name in component.module_index:
        path = RootPath(f"{top}/{name.text}")
        content = _maker(name)(modules, top)
        made = Node(
            path=path, kind=Kind.FILE, mode=0o644, uid=0, gid=0, size=len(content),
            sha256=store.add(content), target="", package="", component=component.name,
        )  # fmt: skip
        edges = [
            Need(path, component.name, NeedKind.GENERATED, f"module-index {place(name.where)}")
        ]
        edges += [
            Need(parent, path, NeedKind.PARENT, "directory")
            for parent in parents(path)
            if parent in closure.chosen
        ]
        yield made, edges


def _loader_cache(
    closure: Closure, files: Sequence[Files], store: Store, arch: str
) -> Iterable[tuple[Node, Need]]:
    """The cache of ld.so.conf's directories: the loader itself never reads ld.so.conf."""
    conf = closure.chosen.get(CONF)
    if conf is None or CACHE in closure.chosen:
        return
    rows = cacheable(Catalog(files), closure.chosen, machine(arch))
    if rows:
        content = write_cache(rows, machine(arch).cache_flags)
        made = Node(
            path=CACHE, kind=Kind.FILE, mode=0o644, uid=0, gid=0, size=len(content),
            sha256=store.add(content), target="", package="", component=conf.component,
        )  # fmt: skip
        yield made, Need(CACHE, CONF, NeedKind.GENERATED, "as ldconfig would make it")


def _maker(name: Name) -> Callable[[Mapping[RootPath, Module], str], bytes]:
    if name.text not in INDEX:
        raise ResolveError(
            f"{name.text} is no file of the module index that minbuild makes",
            where=str(name.where),
            fix=f"use one of {', '.join(sorted(INDEX))}",
        )
    return INDEX[name.text]


def _modules(closure: Closure, files: Sequence[Files]) -> dict[RootPath, Module]:
    """The modules that the index lists: those of the kernel, also where they are links."""
    owners = {owner.owner: owner for owner in files}
    top = f"{MODULES}/{closure.kernel}/"
    wanted = [path for path in closure.chosen if path.startswith(top) and ".ko" in path]
    catalog = Catalog(files) if any(_is_link(closure, path) for path in wanted) else None
    found = {}
    for path in wanted:
        real = (catalog.real(path) or path) if catalog is not None else path
        one = closure.chosen.get(real)
        facts = owners[one.package].facts(real) if one is not None else None
        if isinstance(facts, Module):
            found[path] = facts
    return found


def _is_link(closure: Closure, path: RootPath) -> bool:
    return closure.chosen[path].entry.kind is Kind.LINK


def _check_applets(manifest: Manifest, busybox: Node | None, store: Store) -> None:
    wanted = [name for component in manifest.components for name in component.applets]
    if wanted and busybox is not None:
        applets.check(wanted, applets.applets(store.need(busybox.sha256)))


def _kernel(manifest: Manifest, closure: Closure) -> RootPath:
    for path in closure.chosen:
        if image_version(path):
            return path
    raise ResolveError(
        f"{manifest.kernel.package} brings no kernel image",
        where=str(manifest.kernel.where),
        fix="name a package that holds one: kernel: {package: linux-image-cloud-amd64}",
    )
