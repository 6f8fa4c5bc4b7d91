"""An initramfs in segments: each packed once, side by side, and kept by what is in it."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

from minbuild.image import cpio
from minbuild.image.groups import HEAD, Group, groups, settings
from minbuild.manifest.types import Compression
from minbuild.paths import RootPath
from minbuild.progress import Progress
from minbuild.store import Store
from minbuild.toolbox.toolbox import Toolbox
from minbuild.tree.types import Node, Tree

KIND = "segment/1"


@dataclass(frozen=True, slots=True)
class Segment:
    """Some files of the initramfs, packed."""

    sort: str
    nodes: tuple[Node, ...]
    unpacked: int
    """Bytes of its cpio archive."""
    size: int
    """Bytes as it stands in the initramfs, padding included."""
    sha256: str
    """Of those bytes, which the store holds."""
    kept: bool
    """True: the store had it from an earlier build."""


def pack(
    tree: Tree,
    store: Store,
    toolbox: Toolbox,
    compression: Compression,
    *,
    arch: str,
    progress: Progress,
) -> tuple[Segment, ...]:
    """Pack a tree into segments, in the order in which they stand in the initramfs.

    Only those that the store lacks are packed, on all cores, the biggest first.
    Raises: ToolError when the packer fails or the store lost a content.
    """
    packer = Packer(store, toolbox, compression, arch)
    found = groups(tree, packer.head, arch)
    made: dict[Group, Segment] = {}
    for group in found:
        kept = packer.kept(group)
        if kept is not None:
            made[group] = kept
    left = sorted((g for g in found if g not in made), key=lambda group: -group.size)
    total = sum(group.size for group in left)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        running = {pool.submit(packer.pack, group): group for group in left}
        for done in as_completed(running):
            made[running[done]] = done.result()
            packed = sum(group.size for group in left if group in made)
            progress.bar("packing", packed, total)
    return tuple(made[group] for group in found)


def join(segments: Sequence[Segment], store: Store, place: Path) -> None:
    """Write the initramfs to `place`: all segments one after the other.

    Raises: Lost when the store lost one.
    """
    with place.open("wb") as initrd:
        for segment in segments:
            found = store.sound(segment.sha256)
            if found is None or not _append(found, segment.size, initrd):
                initrd.write(content(store, segment.sha256))  # which says that it is lost


def _append(path: Path, size: int, to: BufferedWriter) -> bool:
    """Append a file without a copy in our memory; False when it is shorter than `size`."""
    to.flush()
    start = to.tell()
    with path.open("rb") as file:
        done = 0
        while done < size:
            sent = os.sendfile(to.fileno(), file.fileno(), done, size - done)
            if not sent:
                to.truncate(start)
                to.seek(start)
                return False
            done += sent
    to.seek(start + size)
    return True


def content(store: Store, sha256: str) -> bytes:
    """Bytes that the store must hold.

    Raises: Lost when they are lost or damaged.
    """
    return store.need(sha256)


class Packer:
    """Packs groups one at a time; used by several threads at once."""

    def __init__(self, store: Store, toolbox: Toolbox, compression: Compression, arch: str) -> None:
        """Pack for a host of `arch`."""
        self._store = store
        self._toolbox = toolbox
        self._compression = compression
        self._arch = arch

    def head(self, sha256: str) -> bytes:
        """The first bytes of a content."""
        path = self._store.file(sha256)
        if path is None:
            return content(self._store, sha256)[:HEAD]
        with path.open("rb") as file:
            return file.read(HEAD)

    def kept(self, group: Group) -> Segment | None:
        """The segment of a group that an earlier build packed, if its bytes are sound."""
        key = self._key(group)
        value = self._store.get(KIND, key)
        if value is None:
            return None
        path = self._store.sound(value.decode())
        if path is None:
            return None
        return self._segment(group, path.stat().st_size, value.decode(), kept=True)

    def pack(self, group: Group) -> Segment:
        """Pack a group and keep the result; one that another process packs is waited for."""
        with self._store.turn(self._key(group)):
            return self.kept(group) or self._pack(group)

    def _pack(self, group: Group) -> Segment:
        words = self._settings(group)
        data = cpio.write(group.nodes, lambda sha256: content(self._store, sha256))
        if words:
            data = self._toolbox.run(
                self._tool, words, what=f"packing {len(group.nodes)} files", stdin=data
            )
        data += bytes(-len(data) % cpio.ALIGN)
        sha256 = self._store.add(data)
        self._store.put(KIND, {self._key(group): sha256.encode()})
        return self._segment(group, len(data), sha256, kept=False)

    @property
    def _tool(self) -> str:
        return "xz" if self._compression is Compression.XZ else "zstd"

    def _segment(self, group: Group, size: int, sha256: str, *, kept: bool) -> Segment:
        unpacked = cpio.size(group.nodes)
        return Segment(group.sort, group.nodes, unpacked, size, sha256, kept)

    def _settings(self, group: Group) -> tuple[str, ...]:
        return settings(group, cpio.size(group.nodes), self._compression, self._arch)

    def _key(self, group: Group) -> str:
        """All that decides the packed bytes: nodes, settings, and the packer itself."""
        words = self._settings(group)
        parts = [cpio.FORMAT, *words, *(self._packer() if words else ())]
        for node in group.nodes:
            owner = f"{node.mode:o} {node.uid}:{node.gid}"
            parts += [node.path, node.kind, owner, node.sha256, node.target]
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def _packer(self) -> tuple[str, ...]:
        """Digests of the programs and libraries that pack."""
        if self._compression is Compression.XZ:
            library = RootPath(f"{self._toolbox.libraries}/liblzma.so.5")
            paths = [RootPath("/usr/bin/xz"), library]
        else:
            paths = [RootPath("/usr/bin/zstd")]
        return tuple(self._toolbox.digest(path) for path in paths)
