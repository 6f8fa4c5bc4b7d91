"""Facts of a tree's own bytes, read again for the closed-world check."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import ResolveError
from minbuild.facts import detect, serialize
from minbuild.facts.model import Elf, FileEntry, FileFacts, PackageFiles, Symbols
from minbuild.paths import RootPath
from minbuild.rootfs.model import RootfsNode, RootfsTree

T = TypeVar("T")


def files_from_content(rootfs: RootfsTree, store: Store) -> PackageFiles:
    """Make the `PackageFiles` of a tree, with facts from the contents that will be packed.

    A content that was read before is known by its digest.
    """
    nodes = {node.path: node for node in rootfs.nodes}

    @cache
    def read_facts(path: RootPath) -> FileFacts | None:
        content_cache = _ContentCache(
            RecordKind.REREAD_FACTS, serialize.encode_facts, serialize.decode_facts, store
        )
        return content_cache.get(nodes.get(path), lambda data: _cross_check(path, data))

    @cache
    def read_symbols(path: RootPath) -> Symbols | None:
        content_cache = _ContentCache(
            RecordKind.REREAD_SYMBOLS, serialize.encode_symbols, serialize.decode_symbols, store
        )
        return content_cache.get(nodes.get(path), lambda data: detect.read_symbols(path, data))

    return PackageFiles(
        owner="",
        entries={node.path: _to_entry(node) for node in rootfs.nodes},
        facts=read_facts,
        symbols=read_symbols,
    )


def _cross_check(path: RootPath, data: bytes) -> FileFacts | None:
    """What a content is; of an ELF object, what two readers say that share no code.

    Raises: ResolveError when they differ.
    """
    facts = detect.read_facts(path, data)
    if isinstance(facts, Elf):
        # 150 ms: pyelftools; a content that was read before needs none of it
        from minbuild.facts import elf_crosscheck

        first, second = elf_crosscheck.view_facts(facts), elf_crosscheck.read_with_pyelftools(data)
        if second is not None and first != second:
            raise ResolveError(
                f"two readers differ about what {path} needs: {first} and {second}",
                where=path,
                fix="report this with the file, it is made so that loaders see different things",
            )
    return facts


@dataclass(frozen=True, slots=True)
class _ContentCache(Generic[T]):
    """What is read of contents, once of each."""

    kind: RecordKind
    pack: Callable[[T], bytes]
    unpack: Callable[[bytes], T]
    store: Store

    def get(self, node: RootfsNode | None, read: Callable[[bytes], T | None]) -> T | None:
        """Read a content, or return what was read before."""
        if node is None or not node.sha256:
            return None
        key = f"{node.sha256} {node.path}"
        cached = self.store.get(self.kind, key)
        if cached is not None:
            with contextlib.suppress(serialize.StaleRecord):
                return self.unpack(cached) if cached else None
        value = read(self.store.require(node.sha256))
        self.store.put(self.kind, {key: b"" if value is None else self.pack(value)})
        return value


def _to_entry(node: RootfsNode) -> FileEntry:
    return FileEntry(
        node.path, node.kind, node.mode, node.uid, node.gid, node.size, node.sha256, node.target
    )
