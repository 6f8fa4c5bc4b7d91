"""An EFI program with the sections of Xen's own; it is measured, never started."""

import struct

HEAD, OPTIONAL, ALIGNMENT = 0x40, 112 + 16 * 8, 32
DISCARDABLE = 0x42000000
READABLE = 0x40000040


def xen_efi(
    *, debug: bytes = b"DWARF" * 100, text: bytes = b"hypervisor" * 50, more: bytes = b""
) -> bytes:
    """Xen as Debian ships it: code, a long name, .reloc, sections of the debugger, symbols.

    `more` is the content of a section `.more` of its own.
    """
    rows = [
        (b".text", text, 0x200000, 0x60000020),
        (b"/4", b"read once", 0x300000, READABLE),
        (b".bss", b"", 0x301000, 0xC0000080),
        (b".reloc", b"moves", 0x302000, DISCARDABLE),
        (b"/22", debug, 0x303000, DISCARDABLE),
    ]
    if more:
        rows.insert(4, (b".more", more, 0x303000, READABLE))
    strings = b".data.read_mostly\0.debug_info\0"
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", HEAD)
    start = at = -(-(HEAD + 24 + OPTIONAL + 40 * len(rows)) // ALIGNMENT) * ALIGNMENT
    table = body = b""
    for name, data, address, flags in rows:
        stored = -(-len(data) // ALIGNMENT) * ALIGNMENT
        size = len(data) or 0x1000
        table += struct.pack(
            "<8sIIIIIIHHI", name, size, address, stored, at if stored else 0, 0, 0, 0, 0, flags
        )
        body += data.ljust(stored, b"\0")
        at += stored
    symbols = struct.pack("<I", at)
    head += b"PE\0\0" + struct.pack("<HHI", 0x8664, len(rows), 0) + symbols
    head += struct.pack("<IHH", 1, OPTIONAL, 0x22E)
    optional = struct.pack("<H34xIII", 0x20B, ALIGNMENT, 0, 0).ljust(56, b"\0")
    optional += struct.pack("<III", 0x304000, start, 0x1234).ljust(52, b"\0")
    optional += struct.pack("<I", 16)
    head += optional.ljust(OPTIONAL, b"\0")
    return (head + table).ljust(start, b"\0") + body + bytes(18) + bytes(4) + strings


def linux(release: str) -> bytes:
    """A kernel of which the header alone is there. Source: Linux, Documentation/arch/x86/boot.rst."""
    kernel = bytearray(0x400)
    kernel[0x202:0x206] = b"HdrS"
    kernel[0x20E:0x210] = (0x100).to_bytes(2, "little")
    text = f"{release} (a builder)".encode()
    kernel[0x300 : 0x300 + len(text)] = text
    return bytes(kernel)
