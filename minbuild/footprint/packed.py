"""How many bytes a file adds to a solid archive, guessed from what zlib makes of it alone.

Held against an initramfs packed without each component in turn: benchmarks/estimate.py; for
host.yaml the median error by component is 1.3 %.
"""

SOLID = 0.68
"""Of what a file weighs alone (zlib -1), what it weighs packed by xz together with others."""
STORED = 0.97
"""From this ratio of zlib's on, a file is packed already and weighs what it is."""


def guess(compressed: int, size: int) -> int:
    """Bytes in a solid archive of a file of `size` bytes that zlib -1 makes `compressed`."""
    return size if compressed > STORED * size else round(SOLID * compressed)
