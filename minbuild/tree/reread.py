"""A tree's own bytes, read again: what a proof looks at instead of the facts that chose them."""

from collections.abc import Callable
from functools import cache

from minbuild.facts import sniff
from minbuild.facts.types import Entry, FileFacts, Files, Symbols
from minbuild.paths import RootPath
from minbuild.store import Store
from minbuild.tree.types import Node, Tree


def reread(tree: Tree, store: Store) -> Files:
    """Make one `Files` of a tree, whose facts come from the contents that will be packed."""
    nodes = {node.path: node for node in tree.nodes}

    @cache
    def facts(path: RootPath) -> FileFacts | None:
        data = _content(nodes.get(path), store)
        return None if data is None else sniff.sniff(path, data)

    @cache
    def symbols(path: RootPath) -> Symbols | None:
        data = _content(nodes.get(path), store)
        return None if data is None else sniff.symbols(data)

    return Files(
        owner="",
        entries={node.path: _entry(node) for node in tree.nodes},
        facts=facts,
        symbols=symbols,
    )


def reader(store: Store) -> Callable[[str], bytes]:
    """A function that gives the bytes of a digest; it raises Lost when the store has lost them."""
    return store.need


def _content(node: Node | None, store: Store) -> bytes | None:
    if node is None or not node.sha256:
        return None
    return reader(store)(node.sha256)


def _entry(node: Node) -> Entry:
    return Entry(
        node.path, node.kind, node.mode, node.uid, node.gid, node.size, node.sha256, node.target
    )
