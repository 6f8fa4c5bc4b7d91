"""A tree's own bytes, read again: what a proof looks at instead of the facts that chose them."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from minbuild.errors import ResolveError
from minbuild.facts import record, secondread, sniff
from minbuild.facts.types import Elf, Entry, FileFacts, Files, Symbols
from minbuild.paths import RootPath
from minbuild.store import Store
from minbuild.tree.types import Node, Tree

FACTS, SYMBOLS = f"reread-2-{record.FACTS}", f"reread-{record.SYMBOLS}"
"""SHA-256 of a content, and its path → what was read; b"" where there is nothing to read."""
T = TypeVar("T")


def reread(tree: Tree, store: Store) -> Files:
    """Make one `Files` of a tree, whose facts come from the contents that will be packed.

    A content that was read before is known by its digest.
    """
    nodes = {node.path: node for node in tree.nodes}

    @cache
    def facts(path: RootPath) -> FileFacts | None:
        kept = _Kept(FACTS, record.pack_facts, record.read_facts, store)
        return kept.once(nodes.get(path), lambda data: _agreed(path, data))

    @cache
    def symbols(path: RootPath) -> Symbols | None:
        kept = _Kept(SYMBOLS, record.pack_symbols, record.read_symbols, store)
        return kept.once(nodes.get(path), lambda data: sniff.symbols(path, data))

    return Files(
        owner="",
        entries={node.path: _entry(node) for node in tree.nodes},
        facts=facts,
        symbols=symbols,
    )


def _agreed(path: RootPath, data: bytes) -> FileFacts | None:
    """What a content is; of an ELF object, what two readers say that share no code.

    Raises: ResolveError when they differ.
    """
    found = sniff.sniff(path, data)
    if isinstance(found, Elf):
        first, second = secondread.first(found), secondread.second(data)
        if second is not None and first != second:
            raise ResolveError(
                f"two readers differ about what {path} needs: {first} and {second}",
                where=path,
                fix="report this with the file, it is made so that loaders see different things",
            )
    return found


def reader(store: Store) -> Callable[[str], bytes]:
    """A function that gives the bytes of a digest; it raises Lost when the store has lost them."""
    return store.need


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    """What is read of contents, once of each."""

    kind: str
    pack: Callable[[T], bytes]
    unpack: Callable[[bytes], T]
    store: Store

    def once(self, node: Node | None, read: Callable[[bytes], T | None]) -> T | None:
        """Read a content, or know what was read of it."""
        if node is None or not node.sha256:
            return None
        key = f"{node.sha256} {node.path}"
        kept = self.store.get(self.kind, key)
        if kept is not None:
            with contextlib.suppress(record.Stale):
                return self.unpack(kept) if kept else None
        found = read(self.store.need(node.sha256))
        self.store.put(self.kind, {key: b"" if found is None else self.pack(found)})
        return found


def _entry(node: Node) -> Entry:
    return Entry(
        node.path, node.kind, node.mode, node.uid, node.gid, node.size, node.sha256, node.target
    )
