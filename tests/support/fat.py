"""A FAT file system of 12 bits, written by hand: small, and without a tool."""

import struct
from collections.abc import Mapping

SECTOR = 512
ENTRIES = 16


def fat12(files: Mapping[str, bytes]) -> bytes:
    """Files with short names in directories. Source: Microsoft FAT specification, 3, 6."""
    chains: list[bytes] = []  # the content of clusters, from number 2 on
    table: dict[int, int] = {}

    def put(data: bytes) -> int:
        """Lay content into clusters; the number of the first one."""
        pieces = [data[at : at + SECTOR] for at in range(0, len(data), SECTOR)] or [b""]
        first = len(chains) + 2
        for number, piece in enumerate(pieces, first):
            chains.append(piece.ljust(SECTOR, b"\0"))
            table[number] = number + 1 if number - first + 1 < len(pieces) else 0xFFF
        return first

    def rows(names: Mapping[str, bytes]) -> bytes:
        listed = b""
        for top in dict.fromkeys(name.partition("/")[0] for name in names):
            below = {
                name.partition("/")[2]: data
                for name, data in names.items()
                if name.startswith(f"{top}/")
            }
            data = rows(below) if below else names[top]
            base, _, ending = top.partition(".")
            short = f"{base:8}{ending:3}".encode()
            kind, size = (0x10, 0) if below else (0x20, len(data))
            listed += struct.pack("<11sB14xHI", short, kind, put(data), size)
        return listed

    root = rows(files).ljust(ENTRIES * 32, b"\0")
    clusters = len(chains) + 8
    words = [0xFF8, 0xFFF, *(table.get(number, 0) for number in range(2, clusters + 2))]
    words += [0] * (len(words) % 2)
    packed = b"".join(
        (one | two << 12).to_bytes(3, "little")
        for one, two in zip(words[::2], words[1::2], strict=True)
    )
    size = -(-len(packed) // SECTOR)
    total = 1 + size + 1 + clusters
    boot = struct.pack(
        "<3s8sHBHBHHBHHHII", b"\xeb\x3c\x90", b"TEST", SECTOR, 1, 1, 1, ENTRIES, total, 0xF8, size,
        0, 0, 0, 0,
    )  # fmt: skip
    boot = boot.ljust(54, b"\0") + b"FAT12   "
    head = boot.ljust(510, b"\0") + b"\x55\xaa" + packed.ljust(size * SECTOR, b"\0") + root
    return (head + b"".join(chains)).ljust(total * SECTOR, b"\0")
