"""A PE file with the sections of a UKI; it is measured, never started."""

import struct
from collections.abc import Mapping


def uki(parts: Mapping[str, bytes]) -> bytes:
    """Write the sections after one header. Source: Microsoft PE Format."""
    optional = 112
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    head += struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, len(parts), 0, 0, 0, optional, 0x22)
    head += struct.pack("<H", 0x20B).ljust(optional, b"\0")
    at = -(-(len(head) + 40 * len(parts)) // 512) * 512
    table = body = b""
    for name, data in parts.items():
        stored = -(-len(data) // 512) * 512
        table += struct.pack("<8sIIII", name.encode(), len(data), 0, stored, at).ljust(40, b"\0")
        body += data.ljust(stored, b"\0")
        at += stored
    return (head + table).ljust(-(-(len(head) + len(table)) // 512) * 512, b"\0") + body
