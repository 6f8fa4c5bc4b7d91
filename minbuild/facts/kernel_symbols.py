"""Symbols that kernel modules and images export and import.

Each is "name", or "name@CRC" (eight hex digits) where the kernel checks the symbol's type too.
Source: Linux include/linux/export.h and export-internal.h, kernel/module/version.c
(`struct modversion_info`), Documentation/arch/x86/boot.rst (payload_offset).
"""

import re
import struct
from collections.abc import Iterator, Mapping

from minbuild.errors import MalformedFile
from minbuild.facts.model import Symbols
from minbuild.formats import elf_file, magic
from minbuild.formats.compression import decompress
from minbuild.formats.elf_file import ElfFile, ElfSection, decode_printable
from minbuild.formats.magic import Format, detect_format

MAX_KERNEL_SIZE = 256 << 20
"""Bytes of the largest kernel, unpacked."""
STB_WEAK = 2
SHN_ABS, SHN_RESERVED = 0xFFF1, 0xFF00
_ROW = {32: "IIIBBH", 64: "IBBHQQ"}
_ROW_SIZE = {32: 16, 64: 24}
_VERSION_SIZE = 64
"""Bytes of one row of `__versions`: the CRC as a long, then the name."""
_EXPORTED = re.compile(rb"\0__(ksymtab|crc)_([^\0]{1,1024})(?=\0)")
_PAYLOADS = {Format.ZSTD: ".zst", Format.XZ: ".xz", Format.GZIP: ".gz"}


def read_module_table(elf: ElfFile) -> Symbols | None:
    """The symbols of a module; None without a symbol table. Raises: MalformedFile."""
    for section in elf.sections:
        if section.kind == elf_file.SHT_SYMTAB and section.link < len(elf.sections):
            strings = elf.sections[section.link]
            names = elf.read(strings.offset, strings.size)
            crcs = _read_required_crcs(elf)
            strong, weak = _read_undefined(elf, section, names, crcs)
            return Symbols(_read_exports(elf, section, names), strong, weak)
    return None


def read_kernel_symbols(data: bytes) -> Symbols | None:
    """What the kernel image `data` exports to modules.

    None where that cannot be read: an image without an ELF file (arm64, riscv64), or one
    compressed by what is not known here.
    """
    try:
        image = _extract_elf(data)
        return _read_export_tables(ElfFile(image)) if image is not None else None
    except MalformedFile:
        return None


def _read_undefined(
    elf: ElfFile, section: ElfSection, names: bytes, crcs: Mapping[str, int]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Strong and weak undefined symbols; only those after the local ones (sh_info) can be."""
    skipped = section.info * _ROW_SIZE[elf.bits]
    rows = elf.unpack_rows(_ROW[elf.bits], section.offset + skipped, section.size - skipped)
    section_column, info_column = (3, 1) if elf.bits == 64 else (5, 3)
    strong: set[str] = {name for name in crcs if name == "module_layout"}
    weak: set[str] = set()
    for row in rows:
        if row[section_column] == 0 and row[0]:
            name = decode_printable(elf.read_name(names, row[0]))
            (weak if row[info_column] >> 4 == STB_WEAK else strong).add(name)
    return _append_crcs(strong, crcs), _append_crcs(weak, crcs)


def _read_required_crcs(elf: ElfFile) -> Mapping[str, int]:
    """The CRC that a module wants of each symbol; empty without CONFIG_MODVERSIONS."""
    data = elf.read_section(b"__versions")
    if elf.bits == 64 and any(data[4:8]):
        return dict(_walk_packed_crcs(elf, data))
    word = "Q" if elf.bits == 64 else "I"
    layout = f"{elf.byte_order}{word}{_VERSION_SIZE - struct.calcsize('=' + word)}s"
    rows = struct.iter_unpack(layout, data[: len(data) - len(data) % _VERSION_SIZE])
    return {decode_printable(name.partition(b"\0")[0]): crc & 0xFFFFFFFF for crc, name in rows}


def _walk_packed_crcs(elf: ElfFile, data: bytes) -> Iterator[tuple[str, int]]:
    """Rows as long as their names: bytes to the next row, CRC, name. A long's upper half is 0.

    Source: Ubuntu's kernels from 6.2 on, "modpost: support arbitrary symbol length in modversion".
    """
    offset = 0
    while offset + 8 <= len(data):
        step, crc = struct.unpack_from(f"{elf.byte_order}II", data, offset)
        if not step:
            return
        if step < 8 or offset + step > len(data):
            raise MalformedFile("its symbols' versions lead out of it")
        yield decode_printable(data[offset + 8 : offset + step].partition(b"\0")[0]), crc
        offset += step


def _read_exports(elf: ElfFile, section: ElfSection, names: bytes) -> tuple[str, ...]:
    """A symbol __ksymtab_NAME stands beside each that is exported, __crc_NAME where its CRC is."""
    names_by_table: dict[bytes, set[bytes]] = {b"ksymtab": set(), b"crc": set()}
    crc_symbols: dict[int, bytes] = {}
    for match in _EXPORTED.finditer(names):
        names_by_table[match[1]].add(match[2])
        if match[1] == b"crc":
            crc_symbols[match.start() + 1] = match[2]
    exported = {
        decode_printable(name) for name in names_by_table[b"ksymtab"] - {b"strings", b"gpl"}
    }
    crcs = dict(_read_exported_crcs(elf, section, crc_symbols)) if crc_symbols and exported else {}
    return _append_crcs(exported, crcs)


def _read_exported_crcs(
    elf: ElfFile, section: ElfSection, crc_symbols: Mapping[int, bytes]
) -> Iterator[tuple[str, int]]:
    section_column, value_column = (3, 4) if elf.bits == 64 else (5, 1)
    for row in elf.unpack_rows(_ROW[elf.bits], section.offset, section.size):
        name = crc_symbols.get(row[0])
        if name is None:
            continue
        if row[section_column] == SHN_ABS:
            yield decode_printable(name), row[value_column] & 0xFFFFFFFF
        elif 0 < row[section_column] < min(len(elf.sections), SHN_RESERVED):
            offset = elf.sections[row[section_column]].offset + row[value_column]
            yield decode_printable(name), elf.unpack_row("I", offset)[0]


def _append_crcs(names: set[str], crcs: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(f"{name}@{crcs[name]:08x}" if name in crcs else name for name in sorted(names))


def _extract_elf(data: bytes) -> bytes | None:
    """The ELF file within a kernel image: the image itself, or the payload of a bzImage."""
    if data.startswith(magic.ELF):
        return data
    if data[0x202:0x206] != b"HdrS" or len(data) < 0x250:
        return None
    offset, size = struct.unpack_from("<II", data, 0x248)
    start = (data[0x1F1] + 1) * 512 + offset
    payload = data[start : start + size]
    kind = detect_format(payload, _PAYLOADS)
    if kind is None:
        return None
    ending = _PAYLOADS[kind]
    # the build appends the unpacked size to all but gzip's, which ends with it anyway
    image = decompress(payload if ending == ".gz" else payload[:-4], ending, MAX_KERNEL_SIZE)
    return image if image.startswith(magic.ELF) else None


def _read_export_tables(elf: ElfFile) -> Symbols | None:
    """The tables of exported symbols: each row leads, relative to its own place, to a name."""
    sections = {section.name: section for section in elf.sections}
    strings = sections.get(b"__ksymtab_strings")
    if strings is None:
        return None
    names = elf.read(strings.offset, strings.size)
    symbols: set[str] = set()
    for section in elf.sections:
        if section.name.startswith(b"__ksymtab") and section is not strings:
            crcs = sections.get(section.name.replace(b"__ksymtab", b"__kcrctab"))
            symbols.update(_read_export_rows(elf, section, crcs, strings, names))
    return Symbols(tuple(sorted(symbols)), (), ()) if symbols else None


def _read_export_rows(
    elf: ElfFile, section: ElfSection, crcs: ElfSection | None, strings: ElfSection, names: bytes
) -> Iterator[str]:
    count = crcs.size // 4 if crcs is not None else section.size // 12
    if not count or section.size // count not in (8, 12) or section.size % count:
        return
    step = section.size // count
    rows = elf.unpack_rows("i" * (step // 4), section.offset, section.size)
    sums = elf.unpack_rows("I", crcs.offset, crcs.size) if crcs is not None else iter(())
    for number, row in enumerate(rows):
        name_offset = section.address + number * step + 4 + row[1] - strings.address
        crc = next(sums, None)
        if 0 <= name_offset < len(names):
            name = decode_printable(elf.read_name(names, name_offset))
            yield f"{name}@{crc[0]:08x}" if crc is not None else name
