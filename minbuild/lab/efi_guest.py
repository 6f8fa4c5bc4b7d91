"""UEFI guest of the data disk: a 1 KiB program that writes a line, on a FAT disk."""

import struct
from pathlib import Path

from minbuild.formats import magic
from minbuild.lab.model import Tools
from minbuild.process import run_program

EFI_READY = "minbuild-guest: up by UEFI"
"""The line that the program writes on the firmware's console."""

SECTOR = 512
DISK_SIZE = 1 << 20
"""Bytes of the disk."""
BOOT_PATH = "::EFI/BOOT/BOOTX64.EFI"
"""The file that UEFI starts by default, in mtools' notation. Source: UEFI 2.10, 3.5.1.1."""


def make_efi_program(text: str) -> bytes:
    """Make a UEFI application for x86-64 that writes `text` on the console and waits for ever.

    Source: UEFI 2.10, 4.3 (system table), 4.4 (boot services), 12.4 (OutputString), 7.5
    (SetWatchdogTimer: else the firmware restarts after 5 minutes).
    """
    return make_efi_application(_assemble_code(f"\r\n{text}\r\n"))


def make_efi_application(code: bytes) -> bytes:
    """Make a UEFI application for x86-64 of position-independent code.

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
    dos = struct.pack("<2s58xI", magic.PE, 64)
    head = dos + coff + standard + windows + sizes + struct.pack("<8sIIIIIIHHI", *text_section)
    return head.ljust(SECTOR, b"\0") + code.ljust(raw, b"\0")


def _assemble_code(text: str) -> bytes:
    idle = bytes.fromhex(
        "488b4360"  # mov rax,[rbx+60h]: the boot services
        "31c931d24531c04531c9"  # all four arguments are 0
        "ff9000010000"  # call [rax+100h]: SetWatchdogTimer
        "f4ebfd"  # again: hlt; jmp again
    )
    write = bytes.fromhex("ff5108")  # call [rcx+8]: OutputString
    # sub rsp,28h; mov rbx,rdx; mov rcx,[rdx+40h]: the console; lea rdx,[rip+text]
    start = bytes.fromhex("4883ec28 4889d3 488b4a40 488d15")
    text_offset = struct.pack("<i", len(write) + len(idle))
    return start + text_offset + write + idle + f"{text}\0".encode("utf-16-le")


def make_efi_disk(output: Path, content: bytes, work: Path, tools: Tools) -> None:
    """Make a disk without partitions from which a UEFI starts `content`.

    Raises: ToolError when a tool fails.
    """
    application = work / "application.efi"
    application.write_bytes(content)
    with output.open("wb") as file:
        file.truncate(DISK_SIZE)
    image_args = ("-i", str(output))
    for name, tool_args in (
        ("mkfs.fat", ("-F", "12", str(output))),
        ("mmd", (*image_args, "::EFI", "::EFI/BOOT")),
        ("mcopy", (*image_args, str(application), BOOT_PATH)),
    ):
        argv = [*tools.build_argv(name), *tool_args]
        run_program(
            argv,
            purpose="making the disk of the guest by UEFI",
            env=dict(tools.build_environment()),
        )
