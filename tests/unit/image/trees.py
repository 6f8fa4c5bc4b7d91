"""Small trees for tests."""

import hashlib
import random
import struct

from minbuild.facts.types import Kind
from minbuild.paths import RootPath, parents
from minbuild.store import Store
from minbuild.tree.types import Node, Tree

KERNEL = RootPath("/boot/vmlinuz-1")


def directory(path: str) -> Node:
    return Node(RootPath(path), Kind.DIRECTORY, 0o755, 0, 0, 0, "", "", "", "boot/x")


def link(path: str, target: str) -> Node:
    return Node(RootPath(path), Kind.LINK, 0o777, 0, 0, 0, "", target, "", "boot/x")


def hard(path: str, first: str, mode: int = 0o644) -> Node:
    return Node(RootPath(path), Kind.HARDLINK, mode, 0, 0, 0, "", first, "", "boot/x")


def file(path: str, content: bytes, mode: int = 0o644, store: Store | None = None) -> Node:
    sha256 = store.add(content) if store else hashlib.sha256(content).hexdigest()
    return Node(
        RootPath(path), Kind.FILE, mode, 0, 0, len(content), sha256, "", "package", "boot/x"
    )


def tree(*nodes: Node) -> Tree:
    """A tree of these nodes and the directories that hold them."""
    found = {parent: directory(parent) for node in nodes for parent in parents(node.path)}
    found |= {node.path: node for node in nodes}
    return Tree(tuple(found[path] for path in sorted(found)), (), KERNEL, "1")


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
