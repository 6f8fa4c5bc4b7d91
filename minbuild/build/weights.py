"""How much each file's content weighs when packed, by which the initramfs is shared out."""

import lzma
import os
from concurrent.futures import ThreadPoolExecutor

from minbuild.footprint.packed import SOLID_XZ, guess
from minbuild.store import Store
from minbuild.tree.types import Tree

KIND = "weight/3"
FILTERS = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 0}]


def weigh(tree: Tree, store: Store) -> dict[str, int]:
    """Content digest → about its bytes in a solid archive, for every file but the kernel."""
    digests = sorted(
        {node.sha256 for node in tree.nodes if node.sha256 and node.path != tree.kernel}
    )
    known = {digest: store.get(KIND, digest) for digest in digests}
    todo = [digest for digest, value in known.items() if value is None]
    new: dict[str, bytes] = {}
    if todo:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            found = pool.map(lambda digest: _weight(store.need(digest)), todo)
            new = {digest: str(size).encode() for digest, size in zip(todo, found, strict=True)}
        store.put(KIND, new)
    return {digest: int(new.get(digest) or known[digest] or b"0") for digest in digests}


def estimate(tree: Tree, weights: dict[str, int]) -> int:
    """How many bytes the initramfs of a tree will have, before it is packed."""
    packed = [node.sha256 for node in tree.nodes if node.sha256 and node.path != tree.kernel]
    return sum(weights[digest] for digest in packed)


def _weight(data: bytes) -> int:
    packed = lzma.compress(data, lzma.FORMAT_RAW, filters=FILTERS)
    return guess(len(packed), len(data), SOLID_XZ)
