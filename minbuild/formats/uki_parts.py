"""An EFI file cut into parts that stay the same from one build to the next: one after the other they
are the file.

Source: UAPI group, Unified Kernel Image (UKI); Linux, init/initramfs.c.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from minbuild.errors import ToolError
from minbuild.formats import cpio
from minbuild.formats.initramfs_compression import CompressedSegment, find_decompressor
from minbuild.formats.magic import CPIO_CRC, CPIO_NEWC
from minbuild.formats.pe import PeSection, read_machine, read_sections

SECTION_PARTS = {
    ".osrel": "text", ".cmdline": "text", ".uname": "text", ".config": "text", ".profile": "text",
    ".linux": "linux", ".kernel": "linux", ".initrd": "initrd", ".ramdisk": "initrd", ".ucode": "ucode",
}  # fmt: skip
"""Section → its part; neighbours of one part are one part. Other sections are of the stub or Xen."""
HEADERS, STUB, PADDING, END = "headers", "stub", "padding", "end"
MAX_PARTS = 256
"""Parts of one file: a larger initramfs than any of ours has fewer segments."""
MAX_UNPACKED = 1 << 30
"""Bytes that one segment may unpack to before it counts as a bomb."""


@dataclass(frozen=True, slots=True)
class UkiPart:
    """Some bytes of a UKI."""

    name: str
    """What is in it: headers, stub, text, linux, initrd, padding, end."""
    data: bytes


def split_uki(data: bytes, where: str) -> tuple[UkiPart, ...]:
    """Cut an EFI file at its sections, and its initramfs at the segments that the kernel unpacks.

    All parts one after the other are the file, whatever is in it: what is not understood stays
    in one piece. Raises: ToolError when it is no PE file, is damaged, or has too many parts.
    """
    sections = sorted(
        (one for one in read_sections(data, where) if one.stored), key=lambda one: one.start
    )
    machine = read_machine(data, where)
    parts: list[UkiPart] = []
    at = 0
    for section in sections:
        name = SECTION_PARTS.get(section.name, STUB)
        if section.start > at:
            _append(parts, PADDING if parts else HEADERS, data[at : section.start])
        at = section.start + section.stored
        if name == "initrd":
            parts += _split_section(section, machine, where)
            at = section.start + len(section.data)
        else:
            _append(parts, name, data[section.start : at])
    if at < len(data):
        parts.append(UkiPart(END, data[at:]))
    if len(parts) > MAX_PARTS:
        raise ToolError(
            f"the image has {len(parts)} parts; {MAX_PARTS} can be published", where=where,
            fix="pack its initramfs in fewer segments",
        )  # fmt: skip
    return tuple(parts)


def _append(parts: list[UkiPart], name: str, data: bytes) -> None:
    if parts and parts[-1].name == name:
        data = parts.pop().data + data
    parts.append(UkiPart(name, data))


def _split_section(section: PeSection, machine: int, where: str) -> Iterator[UkiPart]:
    """The segments of an initramfs, each with the zeros behind it."""
    data, at = section.data, 0
    while at < len(data):
        end = _find_segment_end(data, at, machine, where)
        while end < len(data) and data[end] == 0:
            end += 1
        yield UkiPart("initrd", data[at:end])
        at = end


def _find_segment_end(data: bytes, at: int, machine: int, where: str) -> int:
    """Where a segment ends; the end of all for one that cannot be read."""
    try:
        if data.startswith((CPIO_NEWC, CPIO_CRC), at):
            member: cpio.CpioMember | None
            member, at = cpio.read_member(data, at, where)
            while member is not None:
                member, at = cpio.read_member(data, at, where)
            return min(at, len(data))
        unpack = find_decompressor(data[at : at + 2])
        if unpack is None:
            return len(data)
        packed = CompressedSegment(
            memoryview(data)[at:], at, where, MAX_UNPACKED, unpack_tool=None, machine=machine
        )
        return at + unpack(packed)[1]
    except ToolError:
        return len(data)
