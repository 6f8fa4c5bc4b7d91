"""The symbols that kernel modules want and offer, and those that the kernel itself offers.

Each is "name", or "name@CRC" (eight hex digits) where the kernel checks the symbol's type too.
Source: Linux include/linux/export.h and export-internal.h, kernel/module/version.c
(`struct modversion_info`), Documentation/arch/x86/boot.rst (payload_offset).
"""

import re
import struct
from collections.abc import Iterator, Mapping

from minbuild.facts import elftable
from minbuild.facts.damage import Damage
from minbuild.facts.elftable import Section, Table, readable
from minbuild.facts.types import Symbols
from minbuild.facts.unpack import whole

LARGEST = 256 << 20
"""Bytes of the largest kernel, unpacked."""
STB_WEAK = 2
SHN_ABS, SHN_RESERVED = 0xFFF1, 0xFF00
_ROW = {32: "IIIBBH", 64: "IBBHQQ"}
_ROW_SIZE = {32: 16, 64: 24}
_VERSION_SIZE = 64
"""Bytes of one row of `__versions`: the CRC as a long, then the name."""
_EXPORTED = re.compile(rb"\0__(ksymtab|crc)_([^\0]{1,1024})(?=\0)")
_PAYLOADS = {b"\x28\xb5\x2f\xfd": ".zst", b"\xfd7zX": ".xz", b"\x1f\x8b": ".gz"}


def module_symbols(table: Table) -> Symbols | None:
    """The symbols of a module; None when it has no symbol table.

    Raises: Damage.
    """
    for section in table.sections:
        if section.kind == elftable.SHT_SYMTAB and section.link < len(table.sections):
            strings = table.sections[section.link]
            names = table.piece(strings.offset, strings.size)
            crcs = _wanted_crcs(table)
            strong, weak = _undefined(table, section, names, crcs)
            return Symbols(_exports(table, section, names), strong, weak)
    return None


def kernel_symbols(data: bytes) -> Symbols | None:
    """What the kernel image `data` exports to modules.

    None where that cannot be read: an image that holds no ELF file (arm64, riscv64), or one
    compressed by what is not known here.
    """
    try:
        unpacked = _elf(data)
        return _kernel(Table(unpacked)) if unpacked is not None else None
    except Damage:
        return None


def _undefined(
    table: Table, section: Section, names: bytes, crcs: Mapping[str, int]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Strong and weak undefined symbols; only those after the local ones (sh_info) can be."""
    skipped = section.info * _ROW_SIZE[table.bits]
    rows = table.rows(_ROW[table.bits], section.offset + skipped, section.size - skipped)
    at, kind = (3, 1) if table.bits == 64 else (5, 3)
    strong: set[str] = {name for name in crcs if name == "module_layout"}
    weak: set[str] = set()
    for row in rows:
        if row[at] == 0 and row[0]:
            name = readable(elftable.text(names, row[0]))
            (weak if row[kind] >> 4 == STB_WEAK else strong).add(name)
    return _versioned(strong, crcs), _versioned(weak, crcs)


def _wanted_crcs(table: Table) -> Mapping[str, int]:
    """The CRC that a module wants of each symbol; empty without CONFIG_MODVERSIONS."""
    data = table.section(b"__versions")
    if table.bits == 64 and any(data[4:8]):
        return dict(_packed_crcs(table, data))
    word = "Q" if table.bits == 64 else "I"
    layout = f"{table.order}{word}{_VERSION_SIZE - struct.calcsize('=' + word)}s"
    rows = struct.iter_unpack(layout, data[: len(data) - len(data) % _VERSION_SIZE])
    return {readable(name.partition(b"\0")[0]): crc & 0xFFFFFFFF for crc, name in rows}


def _packed_crcs(table: Table, data: bytes) -> Iterator[tuple[str, int]]:
    """Rows as long as their names: bytes to the next row, CRC, name. A long's upper half is 0.

    Source: Ubuntu's kernels from 6.2 on, "modpost: support arbitrary symbol length in modversion".
    """
    at = 0
    while at + 8 <= len(data):
        step, crc = struct.unpack_from(f"{table.order}II", data, at)
        if not step:
            return
        if step < 8 or at + step > len(data):
            raise Damage("its symbols' versions lead out of it")
        yield readable(data[at + 8 : at + step].partition(b"\0")[0]), crc
        at += step


def _exports(table: Table, section: Section, names: bytes) -> tuple[str, ...]:
    """A symbol __ksymtab_NAME stands beside each that is exported, __crc_NAME where its CRC is."""
    found: dict[bytes, set[bytes]] = {b"ksymtab": set(), b"crc": set()}
    places: dict[int, bytes] = {}
    for match in _EXPORTED.finditer(names):
        found[match[1]].add(match[2])
        if match[1] == b"crc":
            places[match.start() + 1] = match[2]
    exported = {readable(name) for name in found[b"ksymtab"] - {b"strings", b"gpl"}}
    crcs = dict(_offered_crcs(table, section, places)) if places and exported else {}
    return _versioned(exported, crcs)


def _offered_crcs(
    table: Table, section: Section, places: Mapping[int, bytes]
) -> Iterator[tuple[str, int]]:
    where, value = (3, 4) if table.bits == 64 else (5, 1)
    for row in table.rows(_ROW[table.bits], section.offset, section.size):
        name = places.get(row[0])
        if name is None:
            continue
        if row[where] == SHN_ABS:
            yield readable(name), row[value] & 0xFFFFFFFF
        elif 0 < row[where] < min(len(table.sections), SHN_RESERVED):
            place = table.sections[row[where]].offset + row[value]
            yield readable(name), table.unpack("I", place)[0]


def _versioned(names: set[str], crcs: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(f"{name}@{crcs[name]:08x}" if name in crcs else name for name in sorted(names))


def _elf(data: bytes) -> bytes | None:
    """The ELF file within a kernel image: the image itself, or the payload of a bzImage."""
    if data[:4] == b"\x7fELF":
        return data
    if data[0x202:0x206] != b"HdrS" or len(data) < 0x250:
        return None
    offset, size = struct.unpack_from("<II", data, 0x248)
    start = (data[0x1F1] + 1) * 512 + offset
    payload = data[start : start + size]
    ending = next((end for magic, end in _PAYLOADS.items() if payload.startswith(magic)), None)
    if ending is None:
        return None
    # the build appends the unpacked size to all but gzip's, which ends with it anyway
    found = whole(payload if ending == ".gz" else payload[:-4], ending, LARGEST)
    return found if found[:4] == b"\x7fELF" else None


def _kernel(table: Table) -> Symbols | None:
    """The tables of exported symbols: each row leads, relative to its own place, to a name."""
    sections = {section.name: section for section in table.sections}
    strings = sections.get(b"__ksymtab_strings")
    if strings is None:
        return None
    names = table.piece(strings.offset, strings.size)
    found: set[str] = set()
    for section in table.sections:
        if section.name.startswith(b"__ksymtab") and section is not strings:
            crcs = sections.get(section.name.replace(b"__ksymtab", b"__kcrctab"))
            found.update(_rows(table, section, crcs, strings, names))
    return Symbols(tuple(sorted(found)), (), ()) if found else None


def _rows(
    table: Table, section: Section, crcs: Section | None, strings: Section, names: bytes
) -> Iterator[str]:
    count = crcs.size // 4 if crcs is not None else section.size // 12
    if not count or section.size // count not in (8, 12) or section.size % count:
        return
    step = section.size // count
    rows = table.rows("i" * (step // 4), section.offset, section.size)
    sums = table.rows("I", crcs.offset, crcs.size) if crcs is not None else iter(())
    for number, row in enumerate(rows):
        place = section.address + number * step + 4 + row[1] - strings.address
        crc = next(sums, None)
        if 0 <= place < len(names):
            name = readable(elftable.text(names, place))
            yield f"{name}@{crc[0]:08x}" if crc is not None else name
