"""Small trees for tests."""

import hashlib
import random
import struct

from minbuild.cache.store import Store
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath, list_parents
from minbuild.rootfs.model import RootfsNode, RootfsTree

KERNEL = RootPath("/boot/vmlinuz-1")


def directory(path: str) -> RootfsNode:
    return RootfsNode(RootPath(path), FileType.DIRECTORY, 0o755, 0, 0, 0, "", "", "", "boot/x")


def link(path: str, target: str) -> RootfsNode:
    return RootfsNode(RootPath(path), FileType.LINK, 0o777, 0, 0, 0, "", target, "", "boot/x")


def hard(path: str, first: str, mode: int = 0o644) -> RootfsNode:
    return RootfsNode(RootPath(path), FileType.HARDLINK, mode, 0, 0, 0, "", first, "", "boot/x")


def file(path: str, content: bytes, mode: int = 0o644, store: Store | None = None) -> RootfsNode:
    sha256 = store.add(content) if store else hashlib.sha256(content).hexdigest()
    return RootfsNode(
        RootPath(path), FileType.FILE, mode, 0, 0, len(content), sha256, "", "package", "boot/x"
    )


def tree(*nodes: RootfsNode) -> RootfsTree:
    """A tree of these nodes and the directories that hold them."""
    found = {parent: directory(parent) for node in nodes for parent in list_parents(node.path)}
    found |= {node.path: node for node in nodes}
    return RootfsTree(tuple(found[path] for path in sorted(found)), (), KERNEL, "1")


def program(size: int, seed: int, *, machine: int = 62, kind: int = 3) -> bytes:
    """Something that begins like an ELF file and packs about as well as code does."""
    chance = random.Random(seed)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HH", kind, machine)
    words = [chance.randbytes(chance.randrange(3, 9)) for _ in range(3000)]
    body = bytearray(head)
    while len(body) < size:
        body += chance.choice(words)
        if not chance.randrange(8):
            body += b"\xe8" + struct.pack("<i", (chance.randrange(1 << 14) << 4) - len(body))
    return bytes(body[:size])
