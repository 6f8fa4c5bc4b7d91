"""Segments of an initramfs: compressed in parallel, and cached by their content."""

import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedWriter
from pathlib import Path

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.formats import cpio, magic
from minbuild.formats.root_entry import FileType
from minbuild.image.shared_segments import fetch_segments, share_segments
from minbuild.image.tar_cpio import CPIO_WRITER_VERSION, compute_cpio_size, encode_cpio
from minbuild.manifest.image_settings import Compression
from minbuild.parallel import open_threads
from minbuild.paths import RootPath
from minbuild.progress import Progress
from minbuild.rootfs.microcode import MICROCODE_DIRECTORY
from minbuild.rootfs.model import RootfsNode, RootfsTree
from minbuild.toolbox.toolbox import Toolbox

BIG_FILE = 4 << 20
"""Bytes from which an ELF file is compressed alone."""
MAX_GROUP = 16 << 20
"""Bytes of a group of smaller ELF files at most."""
LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""The compressor's tables, twelve times the dictionary, lie in large pages of memory: a tenth less
processor time. Source: glibc manual, Memory Allocation Tunables."""
HEAD_SIZE = 20
"""Bytes of a file's content that decide its class."""
PACKED_MAGICS = (magic.XZ, magic.ZSTD, magic.GZIP)
"""Magic numbers of xz, zstd and gzip."""
ELF_MACHINES = {62: "amd64", 183: "arm64", 243: "riscv64"}
"""e_machine → Debian architecture. Source: elf.h."""
BCJ_FILTERS = {"amd64": "--x86", "arm64": "--arm64", "riscv64": "--riscv"}
"""Architecture → xz's branch filter, which the kernel's decoder supports.

Source: Linux, lib/decompress_unxz.c.
"""


class ContentClass(StrEnum):
    """How the content of a file compresses best."""

    DATA = "data"
    CODE = "code"
    """Machine code of the host's architecture, for which xz has a filter."""
    STORED = "stored"
    """Already compressed."""
    MICROCODE = "microcode"
    """Read by the kernel before it can unpack anything."""


@dataclass(frozen=True, slots=True)
class SegmentGroup:
    """The files of one segment; sorted by path."""

    content_class: ContentClass
    nodes: tuple[RootfsNode, ...]

    @property
    def size(self) -> int:
        """Bytes of content."""
        return sum(node.size for node in self.nodes)


def split_into_groups(
    tree: RootfsTree, read_head: Callable[[str], bytes], arch: str
) -> tuple[SegmentGroup, ...]:
    """Split a tree without its kernel into groups, in the order in which they are unpacked.

    `read_head` reads the first bytes of the content with a digest. Microcode comes first, where there
    is some; then a group with directories, links and data; hard links stay with their file.
    """
    early = [node for node in tree.nodes if is_microcode(node)]
    nodes = [node for node in tree.nodes if not tree.is_boot_image(node) and not is_microcode(node)]
    classes = {
        node.path: classify_content(read_head(node.sha256), arch)
        for node in nodes
        if node.kind is FileType.FILE
    }
    by_class: dict[ContentClass, list[RootfsNode]] = {
        content_class: [] for content_class in ContentClass
    }
    for node in nodes:
        path = RootPath(node.target) if node.kind is FileType.HARDLINK else node.path
        by_class[classes.get(path, ContentClass.DATA)].append(node)
    segment_groups = [SegmentGroup(ContentClass.MICROCODE, tuple(early))] if early else []
    segment_groups.append(SegmentGroup(ContentClass.DATA, tuple(by_class[ContentClass.DATA])))
    if by_class[ContentClass.STORED]:
        segment_groups.append(
            SegmentGroup(ContentClass.STORED, tuple(by_class[ContentClass.STORED]))
        )
    segment_groups += [
        SegmentGroup(ContentClass.CODE, part) for part in _group_code(by_class[ContentClass.CODE])
    ]
    return tuple(segment_groups)


def is_microcode(node: RootfsNode) -> bool:
    """Tell whether a path belongs to the archive of microcode: its files, and their directories."""
    return f"{MICROCODE_DIRECTORY}/".startswith(f"{node.path}/") or node.path.startswith(
        f"{MICROCODE_DIRECTORY}/"
    )


def classify_content(head: bytes, arch: str) -> ContentClass:
    """Classify a file by its first bytes; a relocatable object counts as data."""
    if head.startswith(PACKED_MAGICS):
        return ContentClass.STORED
    if head.startswith(magic.ELF) and len(head) >= HEAD_SIZE:
        kind, machine = struct.unpack_from("<HH", head, 16)
        if kind in {2, 3} and ELF_MACHINES.get(machine) == arch:
            return ContentClass.CODE
    return ContentClass.DATA


def build_packer_args(
    group: SegmentGroup, size: int, compression: Compression, arch: str
) -> tuple[str, ...]:
    """Build the compressor's arguments for a cpio archive of `size` bytes; none: not compressed."""
    stored = (ContentClass.STORED, ContentClass.MICROCODE)
    if compression is Compression.NONE or group.content_class in stored:
        return ()
    if compression is Compression.ZSTD:
        return ("--quiet", "--single-thread", "-9", "--no-check", "--stdout")
    lzma2_options = f"mode=normal,mf=bt4,nice=96,lc=4,dict={compute_xz_dictionary_size(size)}"
    code = group.content_class is ContentClass.CODE
    filters = (BCJ_FILTERS[arch],) if code else ()
    lzma2 = (
        f"--lzma2={lzma2_options}"
        if code
        else f"--lzma2=preset=9e,pb=0,dict={compute_xz_dictionary_size(size)}"
    )
    return ("--format=xz", "--check=crc32", "--threads=1", "--stdout", *filters, lzma2)


def compute_xz_dictionary_size(size: int) -> int:
    """Compute the least dictionary for `size` bytes: the kernel allocates that much memory.

    Source: xz file format 5.3.1: 2^n or 2^n + 2^(n-1).
    """
    capacity = 1 << 16
    while capacity < size:
        if capacity + capacity // 2 >= size:
            return capacity + capacity // 2
        capacity *= 2
    return capacity


def _group_code(nodes: Sequence[RootfsNode]) -> Iterator[tuple[RootfsNode, ...]]:
    """Group big files alone, with their hard links, and all others up to MAX_GROUP."""
    links: dict[str, list[RootfsNode]] = {}
    for node in nodes:
        links.setdefault(node.target or node.path, []).append(node)
    batch: list[RootfsNode] = []
    for family in links.values():
        size = sum(node.size for node in family)
        if size >= BIG_FILE:
            yield tuple(family)
            continue
        if batch and sum(node.size for node in batch) + size > MAX_GROUP:
            yield tuple(batch)
            batch = []
        batch += family
    if batch:
        yield tuple(batch)


@dataclass(frozen=True, slots=True)
class InitramfsSegment:
    """A compressed cpio archive with some files of the initramfs."""

    content_class: str
    nodes: tuple[RootfsNode, ...]
    unpacked_size: int
    """Bytes of its cpio archive."""
    size: int
    """Bytes in the initramfs, with padding."""
    sha256: str
    """Digest of those bytes, which are in the store."""
    from_cache: bool
    """True: an earlier build compressed it."""


def pack_initramfs(
    tree: RootfsTree,
    store: Store,
    toolbox: Toolbox,
    compression: Compression,
    *,
    arch: str,
    progress: Progress,
) -> tuple[InitramfsSegment, ...]:
    """Pack a tree into segments, in their order in the initramfs.

    Segments that are not in the store are compressed on all cores, the biggest first.
    Raises: ToolError when the compressor fails, CacheCorrupted when the store lacks a content.
    """
    packer = SegmentPacker(store, toolbox, compression, arch)
    segment_groups = split_into_groups(tree, packer.read_head, arch)
    shared = _find_shareable(segment_groups, packer) if store.remote is not None else {}
    fetch_segments({key: compute_cpio_size(g.nodes) for key, g in shared.items()}, store, progress)
    segments: dict[SegmentGroup, InitramfsSegment] = {}
    for group in segment_groups:
        cached = packer.find_cached(group)
        if cached is not None:
            segments[group] = cached
    remaining = sorted(
        (g for g in segment_groups if g not in segments), key=lambda group: -group.size
    )
    total = sum(group.size for group in remaining)
    with open_threads() as pool:
        running = {pool.submit(packer.pack, group): group for group in remaining}
        for future in as_completed(running):
            segments[running[future]] = future.result()
            packed = sum(group.size for group in remaining if group in segments)
            progress.bar("packing", packed, total)
    share_segments({key: segments[group].sha256 for key, group in shared.items()}, store, progress)
    return tuple(segments[group] for group in segment_groups)


def concatenate_segments(segments: Sequence[InitramfsSegment], store: Store, output: Path) -> None:
    """Write the initramfs: all segments one after the other.

    Raises: CacheCorrupted when the store lacks one.
    """
    with output.open("wb") as initrd:
        for segment in segments:
            path = store.find_verified(segment.sha256)
            if path is None or not _append_file(path, segment.size, initrd):
                initrd.write(store.require(segment.sha256))  # raises CacheCorrupted


def _append_file(path: Path, size: int, output: BufferedWriter) -> bool:
    """Append a file by sendfile; False when it is shorter than `size`."""
    output.flush()
    start = output.tell()
    with path.open("rb") as file:
        copied = 0
        while copied < size:
            sent = os.sendfile(output.fileno(), file.fileno(), copied, size - copied)
            if not sent:
                output.truncate(start)
                output.seek(start)
                return False
            copied += sent
    output.seek(start + size)
    return True


def _find_shareable(
    groups: Sequence[SegmentGroup], packer: "SegmentPacker"
) -> dict[str, SegmentGroup]:
    """Groups with files of packages alone, by their keys: what a manifest renders may be secret."""
    return {
        packer.compute_key(group): group
        for group in groups
        if all(node.package for node in group.nodes if node.kind is FileType.FILE)
    }


class SegmentPacker:
    """Compresses groups to segments and caches them; used by several threads at once."""

    def __init__(self, store: Store, toolbox: Toolbox, compression: Compression, arch: str) -> None:
        """`arch`: the host's architecture."""
        self._store = store
        self._toolbox = toolbox
        self._compression = compression
        self._arch = arch

    def read_head(self, sha256: str) -> bytes:
        """Read the first bytes of a content."""
        path = self._store.path(sha256)
        if path is None:
            return self._store.require(sha256)[:HEAD_SIZE]
        with path.open("rb") as file:
            return file.read(HEAD_SIZE)

    def find_cached(self, group: SegmentGroup) -> InitramfsSegment | None:
        """Find the cached segment of a group; None when there is none or its bytes are damaged."""
        key = self.compute_key(group)
        value = self._store.get(RecordKind.SEGMENT, key)
        if value is None:
            return None
        path = self._store.find_verified(value.decode())
        if path is None:
            return None
        return self._make_segment(group, path.stat().st_size, value.decode(), from_cache=True)

    def pack(self, group: SegmentGroup) -> InitramfsSegment:
        """Pack a group, or wait for another process that packs it."""
        with self._store.lock(self.compute_key(group)):
            return self.find_cached(group) or self._pack_and_store(group)

    def _pack_and_store(self, group: SegmentGroup) -> InitramfsSegment:
        args = self._build_args(group)
        data = encode_cpio(group.nodes, self._store.require)
        if args:
            data = self._toolbox.run(
                self._tool,
                args,
                purpose=f"packing {len(group.nodes)} files",
                stdin=data,
                env=LARGE_PAGES,
            )
        data += bytes(-len(data) % cpio.ALIGNMENT)
        sha256 = self._store.add(data)
        self._store.put(RecordKind.SEGMENT, {self.compute_key(group): sha256.encode()})
        return self._make_segment(group, len(data), sha256, from_cache=False)

    @property
    def _tool(self) -> str:
        return "xz" if self._compression is Compression.XZ else "zstd"

    def _make_segment(
        self, group: SegmentGroup, size: int, sha256: str, *, from_cache: bool
    ) -> InitramfsSegment:
        unpacked = compute_cpio_size(group.nodes)
        return InitramfsSegment(
            group.content_class, group.nodes, unpacked, size, sha256, from_cache
        )

    def _build_args(self, group: SegmentGroup) -> tuple[str, ...]:
        return build_packer_args(
            group, compute_cpio_size(group.nodes), self._compression, self._arch
        )

    def compute_key(self, group: SegmentGroup) -> str:
        """Compute the cache key: nodes, arguments, and the compressor itself."""
        args = self._build_args(group)
        parts = [CPIO_WRITER_VERSION, *args, *(self._digest_packer() if args else ())]
        for node in group.nodes:
            owner = f"{node.mode:o} {node.uid}:{node.gid}"
            parts += [node.path, node.kind, owner, node.sha256, node.target]
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def _digest_packer(self) -> tuple[str, ...]:
        """List the digests of the compressor's program and library."""
        if self._compression is Compression.XZ:
            library = RootPath(f"{self._toolbox.libraries}/liblzma.so.5")
            paths = [RootPath("/usr/bin/xz"), library]
        else:
            paths = [RootPath("/usr/bin/zstd")]
        return tuple(self._toolbox.find_digest(path) for path in paths)
