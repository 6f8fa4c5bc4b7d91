"""How many bytes a file adds to a solid archive, guessed from what it weighs packed alone.

Held against an initramfs packed without each component in turn: benchmarks/estimate.py.
"""

SOLID_XZ = 0.87
"""Of what a file weighs alone (x86 filter, LZMA2 preset 0), what it weighs packed with others."""
SOLID_ZLIB = 0.68
"""The same of zlib -1, which is quicker and less like xz: for trees of others."""
STORED = 0.97
"""From this ratio on, a file is packed already and weighs what it is."""


def guess(compressed: int, size: int, solid: float = SOLID_ZLIB) -> int:
    """Bytes in a solid archive of a file of `size` bytes that is `compressed` alone."""
    return size if compressed > STORED * size else round(solid * compressed)
