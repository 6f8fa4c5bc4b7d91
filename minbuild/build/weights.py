"""How much each file's content weighs when packed, by which the initramfs is shared out."""

import zlib

from minbuild.footprint.packed import guess
from minbuild.store import Store
from minbuild.tree.types import Tree

KIND = "weight/2"


def weigh(tree: Tree, store: Store) -> dict[str, int]:
    """Content digest → about its bytes in a solid archive, for every file of a tree."""
    digests = sorted({node.sha256 for node in tree.nodes if node.sha256})
    known = {digest: store.get(KIND, digest) for digest in digests}
    new = {
        digest: str(_weight(store.need(digest))).encode()
        for digest, value in known.items()
        if value is None
    }
    if new:
        store.put(KIND, new)
    return {digest: int(new.get(digest) or known[digest] or b"0") for digest in digests}


def estimate(tree: Tree, weights: dict[str, int]) -> int:
    """How many bytes the initramfs of a tree will have, before it is packed."""
    packed = [node.sha256 for node in tree.nodes if node.sha256 and node.path != tree.kernel]
    return sum(weights[digest] for digest in packed)


def _weight(data: bytes) -> int:
    return guess(len(zlib.compress(data, 1)), len(data))
