"""Large images with few blocks that are not zero, as one short input.

`SPARSE`, the size in blocks, the count of blocks, their numbers, their bytes; numbers are little-endian.
"""

import contextlib
import struct
from collections.abc import Iterator
from functools import lru_cache
from mmap import mmap

MAGIC = b"SPARSE\0\0"
BLOCK = 4096
_MAX_BLOCKS, _MAX_USED = 1 << 14, 1 << 10


def pack(image: bytes) -> bytes:
    """The short form of an image."""
    starts = [at for at in range(0, len(image), BLOCK) if any(image[at : at + BLOCK])]
    numbers = struct.pack(f"<{len(starts)}I", *(at // BLOCK for at in starts))
    blocks = b"".join(image[at : at + BLOCK].ljust(BLOCK, b"\0") for at in starts)
    return MAGIC + struct.pack("<II", -(-len(image) // BLOCK), len(starts)) + numbers + blocks


def blocks_start(data: bytes | bytearray) -> int:
    """Where the bytes of the blocks begin; 0 of what is no short form."""
    if data[:8] != MAGIC or len(data) < 16:
        return 0
    start: int = 16 + 4 * struct.unpack_from("<I", data, 12)[0]
    return start if start < len(data) else 0


@contextlib.contextmanager
def expanded(data: bytes) -> Iterator[mmap | bytes]:
    """The image of a short form, in memory that is used again; what is no short form as it is."""
    start = blocks_start(data)
    if not start:
        yield data
        return
    total, count = struct.unpack_from("<II", data, 8)
    count = min(count, _MAX_USED)
    total = max(1, min(total, _MAX_BLOCKS))
    image = _memory(total)
    numbers = [one % total for one in struct.unpack_from(f"<{count}I", data, 16)]
    try:
        for index, number in enumerate(numbers):
            block = data[start + index * BLOCK : start + (index + 1) * BLOCK]
            image[number * BLOCK : number * BLOCK + len(block)] = block
        yield image
    finally:
        for number in numbers:
            image[number * BLOCK : (number + 1) * BLOCK] = bytes(BLOCK)


@lru_cache(maxsize=4)
def _memory(blocks: int) -> mmap:
    return mmap(-1, blocks * BLOCK)
