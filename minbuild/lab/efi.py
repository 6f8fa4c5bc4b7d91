"""The smallest thing that a UEFI starts: a program that says that it runs, on a disk of its own."""

import struct
from pathlib import Path

from minbuild.lab.types import Tools
from minbuild.run import run

READY = "minbuild-guest: up by UEFI"
"""What the program writes on the firmware's console."""

SECTOR = 512
SIZE = 1 << 20
"""Bytes of its disk."""
PLACE = "::EFI/BOOT/BOOTX64.EFI"
"""What a UEFI starts of a disk that it was told nothing of. Source: UEFI 2.10, 3.5.1.1."""


def program(text: str) -> bytes:
    """An application for UEFI on x86-64: write `text` on the console, then wait for ever.

    Source: UEFI 2.10, 4.3 (system table), 4.4 (boot services), 12.4 (OutputString), 7.5
    (SetWatchdogTimer: else the firmware starts anew after 5 minutes).
    """
    return application(_code(f"\r\n{text}\r\n"))


def application(code: bytes) -> bytes:
    """An application for UEFI on x86-64 whose code runs wherever it lies.

    Source: PE format, 3 (headers).
    """
    page = 0x1000
    pages = -(-len(code) // page) * page
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 1, 0, 0, 0, 112 + 6 * 8, 0x22)
    standard = struct.pack("<HBBIIIII", 0x20B, 0, 0, len(code), 0, 0, page, page)
    windows = struct.pack(
        "<QIIHHHHHHIIIIHH", 0, page, SECTOR, *(0,) * 7, page + pages, SECTOR, 0, 10, 0
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


def disk(place: Path, content: bytes, work: Path, tools: Tools) -> None:
    """Make a disk without partitions from which a UEFI starts `content`.

    Raises: ToolError when a tool fails.
    """
    application = work / "application.efi"
    application.write_bytes(content)
    with place.open("wb") as file:
        file.truncate(SIZE)
    inside = ("-i", str(place))
    for name, words in (
        ("mkfs.fat", ("-F", "12", str(place))),
        ("mmd", (*inside, "::EFI", "::EFI/BOOT")),
        ("mcopy", (*inside, str(application), PLACE)),
    ):
        argv = [*tools.argv(name), *words]
        run(argv, what="making the disk of the guest by UEFI", env=dict(tools.environment()))
