"""A PE file with the sections of a UKI; it is measured, never started."""

import struct
from collections.abc import Iterable, Mapping, Sequence

HEAD, OPTIONAL = 0x40, 112 + 5 * 8
"""Where the header begins; bytes of its second part, up to where signatures are named."""


def uki(parts: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> bytes:
    """Write the sections after one header. Source: Microsoft PE Format."""
    rows = list(parts.items()) if isinstance(parts, Mapping) else list(parts)
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", HEAD)
    head += struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, len(rows), 0, 0, 0, OPTIONAL, 0x22)
    head += struct.pack("<H", 0x20B).ljust(OPTIONAL, b"\0")
    at = -(-(len(head) + 40 * len(rows)) // 512) * 512
    table = body = b""
    for name, data in rows:
        stored = -(-len(data) // 512) * 512
        table += struct.pack("<8sIIII", name.encode(), len(data), 0, stored, at).ljust(40, b"\0")
        body += data.ljust(stored, b"\0")
        at += stored
    return (head + table).ljust(-(-(len(head) + len(table)) // 512) * 512, b"\0") + body


def with_layout(data: bytes, *, addresses: Sequence[int] = (), signature: bytes = b"") -> bytes:
    """Say where the sections of such a file lie in memory, and sign it."""
    out = bytearray(data + signature)
    if addresses:
        struct.pack_into("<II", out, HEAD + 24 + 56, 0x10000, 512)
    for number, address in enumerate(addresses):
        struct.pack_into("<I", out, HEAD + 24 + OPTIONAL + 40 * number + 12, address)
    if signature:
        struct.pack_into("<II", out, HEAD + 24 + 112 + 32, len(data), len(signature))
    return bytes(out)


def extend_stub(stub: bytes, parts: Iterable[tuple[str, bytes]]) -> bytes:
    """A UKI that starts: a stub with more sections behind its own, in this order."""
    out = bytearray(stub.ljust(-(-len(stub) // 512) * 512, b"\0"))
    (head,) = struct.unpack_from("<I", out, 0x3C)
    count, optional = struct.unpack_from("<H12xH", out, head + 6)
    table = head + 24 + optional
    end = struct.unpack_from("<I", out, head + 24 + 56)[0]
    for name, data in parts:
        row = table + 40 * count
        assert not any(out[row : row + 40]), "the headers are full"
        address = -(-end // 4096) * 4096
        stored = -(-len(data) // 512) * 512
        struct.pack_into(
            "<8sIIIIIIHHI", out, row, name.encode(), len(data), address, stored, len(out), 0, 0, 0,
            0, 0x40000040,
        )  # fmt: skip
        out += data.ljust(stored, b"\0")
        end, count = address + len(data), count + 1
    struct.pack_into("<H", out, head + 6, count)
    struct.pack_into("<I", out, head + 24 + 56, -(-end // 4096) * 4096)
    return bytes(out)
