"""The smallest thing that a UEFI starts: a program that says that it runs, on a disk of its own."""

import struct

READY = "minbuild-guest: up by UEFI"
"""What the program writes on the firmware's console."""

SECTOR = 512
SECTORS = 2048
"""Of the whole disk: 1 MiB."""
TABLE = 6
"""Sectors of a file allocation table: 12 bits for each of 2034 clusters of one sector."""
ROOT = 16
"""Entries of the root directory: one sector."""
DIRECTORY, FILE = 0x10, 0x20
FIRST = 2
"""The number of the first cluster."""
END = 0xFFF
NEW_YEAR = 0x21
"""1 January 1980, the first day that there is."""


def program(text: str) -> bytes:
    """An application for UEFI on x86-64: write `text` on the console, then wait for ever.

    Source: PE format, 3 (headers); UEFI 2.10, 4.3 (system table), 4.4 (boot services), 12.4
    (OutputString), 7.5 (SetWatchdogTimer: else the firmware starts anew after 5 minutes).
    """
    code = _code(f"\r\n{text}\r\n")
    page = 0x1000
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 1, 0, 0, 0, 112 + 6 * 8, 0x22)
    standard = struct.pack("<HBBIIIII", 0x20B, 0, 0, len(code), 0, 0, page, page)
    windows = struct.pack(
        "<QIIHHHHHHIIIIHH", 0, page, SECTOR, *(0,) * 7, 2 * page, SECTOR, 0, 10, 0
    )
    sizes = struct.pack("<QQQQII48x", page, page, page, page, 0, 6)
    raw = -(-len(code) // SECTOR) * SECTOR
    text_section = (b".text", len(code), page, raw, SECTOR, 0, 0, 0, 0, 0x60000020)
    dos = struct.pack("<2s58xI", b"MZ", 64)
    head = dos + coff + standard + windows + sizes + struct.pack("<8sIIIIIIHHI", *text_section)
    return head.ljust(SECTOR, b"\0") + code.ljust(raw, b"\0")


def _code(text: str) -> bytes:
    calm = bytes.fromhex(
        "488b4360"  # mov rax,[rbx+60h]: the boot services
        "31c931d24531c04531c9"  # all four arguments are 0
        "ff9000010000"  # call [rax+100h]: SetWatchdogTimer
        "f4ebfd"  # again: hlt; jmp again
    )
    write = bytes.fromhex("ff5108")  # call [rcx+8]: OutputString
    # sub rsp,28h; mov rbx,rdx; mov rcx,[rdx+40h]: the console; lea rdx,[rip+text]
    start = bytes.fromhex("4883ec28 4889d3 488b4a40 488d15")
    behind = struct.pack("<i", len(write) + len(calm))
    return start + behind + write + calm + f"{text}\0".encode("utf-16-le")


def disk(content: bytes) -> bytes:
    """A disk without partitions, a FAT of 12 bits, whose EFI/BOOT/BOOTX64.EFI is `content`.

    Source: Microsoft, FAT: General Overview of On-Disk Format 1.03; UEFI 2.10, 3.5.1.1.
    """
    count = -(-len(content) // SECTOR)
    chain = [*range(FIRST + 3, FIRST + 2 + count), END]
    table = _table([0xFF8, END, END, END, *chain])
    efi, boot, file = FIRST, FIRST + 1, FIRST + 2
    parts = (
        _boot_sector(),
        table,
        table,
        _entry(b"EFI", DIRECTORY, efi).ljust(SECTOR, b"\0"),
        _folder(efi, 0, _entry(b"BOOT", DIRECTORY, boot)),
        _folder(boot, efi, _entry(b"BOOTX64 EFI", FILE, file, len(content))),
        content,
    )
    return b"".join(parts).ljust(SECTORS * SECTOR, b"\0")


def _boot_sector() -> bytes:
    jump = b"\xeb\x3c\x90" + b"minbuild"
    sizes = struct.pack("<HBHBHHBH", SECTOR, 1, 1, 2, ROOT, SECTORS, 0xF8, TABLE)
    rest = struct.pack(
        "<HHIIBBBI11s8s", 32, 64, 0, 0, 0x80, 0, 0x29, 1, b"NO NAME    ", b"FAT12   "
    )
    return (jump + sizes + rest).ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def _table(values: list[int]) -> bytes:
    """Entries of 12 bits, two in three bytes."""
    number = sum(value << (12 * place) for place, value in enumerate(values))
    return number.to_bytes(TABLE * SECTOR, "little")


def _folder(own: int, parent: int, entry: bytes) -> bytes:
    rows = _entry(b".", DIRECTORY, own) + _entry(b"..", DIRECTORY, parent) + entry
    return rows.ljust(SECTOR, b"\0")


def _entry(name: bytes, kind: int, cluster: int, size: int = 0) -> bytes:
    day = NEW_YEAR
    return struct.pack(
        "<11sBBBHHHHHHHI", name.ljust(11), kind, 0, 0, 0, day, day, 0, 0, day, cluster, size
    )
