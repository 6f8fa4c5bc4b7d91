"""Which modules stand in a tree unpacked: those whose packing their loader does not read."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from minbuild.facts.damage import Damage
from minbuild.facts.kmod import LARGEST
from minbuild.facts.types import Kind
from minbuild.facts.unpack import whole
from minbuild.paths import RootPath
from minbuild.resolve.types import Need
from minbuild.store import Store
from minbuild.tree.types import Node

LOADERS = frozenset(
    f"/usr/{place}/{name}" for place in ("bin", "sbin") for name in ("modprobe", "insmod")
)
UNREAD = ".zst"
"""What BusyBox's modprobe reads is plain, gz, bz2, lzma and xz; it does not ask the kernel to unpack.

Source: BusyBox archival/libarchive/open_transformer.c, modutils/modutils.c (bb_init_module).
"""
WHY = "BusyBox's modprobe reads no zstd"


def moved(nodes: Mapping[RootPath, Node], store: Store) -> dict[RootPath, Node]:
    """Unpack modules where BusyBox loads them: the path in the package → the node in its place.

    One that is damaged, which a manifest may allow, stays as it is.
    """
    if not any(_is_busybox(nodes.get(RootPath(path))) for path in LOADERS):
        return {}
    packed = [
        node for path, node in nodes.items()
        if path.endswith(f".ko{UNREAD}") and path.startswith("/usr/lib/modules/")
    ]  # fmt: skip
    return {node.path: made for node in packed if (made := _plain(node, nodes, store))}


def renamed(needs: Iterable[Need], moved: Mapping[RootPath, Node]) -> Iterator[Need]:
    """The needs of a tree in which modules are unpacked; those of such a module say so."""
    for need in needs:
        by = RootPath(need.by)
        owner = moved[by].path if by in moved else need.by
        if need.path not in moved:
            yield replace(need, by=owner) if by in moved else need
            continue
        name = need.path.rpartition("/")[2]
        evidence = f"{need.evidence}; {name} unpacked: {WHY}"
        yield Need(moved[need.path].path, owner, need.kind, evidence)


def _is_busybox(node: Node | None) -> bool:
    return (
        node is not None and node.kind is Kind.LINK and node.target.rpartition("/")[2] == "busybox"
    )


def _plain(node: Node, nodes: Mapping[RootPath, Node], store: Store) -> Node | None:
    path = RootPath(node.path.removesuffix(UNREAD))
    if path in nodes:
        return None
    if node.kind is not Kind.FILE:
        return replace(node, path=path, target=node.target.removesuffix(UNREAD))
    try:
        content = whole(store.need(node.sha256), UNREAD, LARGEST)
    except Damage:
        return None
    return replace(node, path=path, size=len(content), sha256=store.add(content))
