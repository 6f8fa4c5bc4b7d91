"""Kernel modules and images: .modinfo, imported and exported symbols.

Each is "name", or "name@CRC" (eight hex digits) where the kernel checks the symbol's type too.
Source: Linux include/linux/export.h and export-internal.h, kernel/module/version.c
(`struct modversion_info`), Documentation/arch/x86/boot.rst (payload_offset).
"""

import io
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace

from minbuild.errors import MalformedFile
from minbuild.facts.model import BuiltinModules, Malformed, Module, Symbols
from minbuild.facts.module_requests import read_requests
from minbuild.formats import elf_file, magic
from minbuild.formats.compression import decompress, decompress_stream
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


def read_module_symbols(path: str, data: bytes) -> Symbols | None:
    """The symbols of the module at `path`, compressed as its name says.

    None without a symbol table, or where the file is damaged.
    """
    try:
        return _read_symbol_table(_open_module(path, data))
    except MalformedFile:
        return None


def _read_symbol_table(elf: ElfFile) -> Symbols | None:
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


MAX_MODULE_SIZE = 256 << 20
"""Bytes of the largest module, unpacked."""
_NAME = re.compile(r"([^/]+)\.ko(\.xz|\.zst|\.gz)?\Z")
_SEPARATORS = re.compile(r"[,\s]+")
PIECE_SIZE = 16 << 10
"""Bytes of a module that are unpacked at a time in search of its aliases."""
MAX_NAME_SIZE = 64
"""Bytes of the longest name of a field in .modinfo."""
_FIELD = re.compile(rb"[A-Za-z_][A-Za-z0-9_.]{0,62}=")


def read_module(path: str, data: bytes) -> Module | Malformed:
    """Read the facts of the module at `path`, compressed as its name says."""
    try:
        elf = _open_module(path, data)
        fields = _parse_modinfo(elf.read_section(b".modinfo"))
        module = _build_module(_normalise_name(_match_name(path)[1]), fields)
        symbols = _read_symbol_table(elf)
        if symbols is None:
            return module
        imported = (name.partition("@")[0] for name in symbols.undefined + symbols.weak)
        return replace(module, requests=read_requests(elf, tuple(imported)))
    except MalformedFile as damage:
        return Malformed(damage.reason)


def read_aliases(path: str, data: bytes) -> tuple[str, ...]:
    """List the aliases of the module at `path`, compressed as its name says; () for a damaged one.

    A package is asked for aliases of all its modules and for other facts of a few, so a module is
    unpacked as far as its aliases go: an eighth of its bytes.
    The text of .modinfo is known by the release of the kernel in its vermagic, and ends on both
    sides where no NAME=VALUE follows. A module in which it is not found so is read whole.
    Source: Linux, scripts/mod/modpost.c (add_header), scripts/module-common.c.
    """
    mark = b"\0vermagic=" + path.split("/")[4].encode() + b" "
    head = b""
    try:
        for piece in _unpack_module(path, data):
            head += piece
            modinfo = _find_modinfo(head, mark) if head.startswith(magic.ELF) else None
            if modinfo is not None:
                return tuple(text for field, text in _parse_modinfo(modinfo) if field == "alias")
    except MalformedFile:
        return ()
    module = read_module(path, data)
    return module.aliases if isinstance(module, Module) else ()


def _find_modinfo(head: bytes, mark: bytes) -> bytes | None:
    """The fields around the one that `mark` begins; None while they are not all there."""
    start = head.find(mark) + 1
    if not start:
        return None
    end = start
    while _FIELD.match(head, end):
        end = head.find(b"\0", end) + 1
        if not end:
            return None
    if len(head) - end < MAX_NAME_SIZE:
        return None
    while _FIELD.match(head, previous := head.rfind(b"\0", 0, start - 1) + 1):
        start = previous
    # no zero byte stands before the first field where code or numbers do
    first = head.rfind(b"alias=", previous, start)
    return head[first if first >= 0 else start : end]


def _unpack_module(path: str, data: bytes) -> Iterator[bytes]:
    ending = _match_name(path)[2] or ""
    return decompress_stream(io.BytesIO(data).read, ending, piece_size=PIECE_SIZE)


def _open_module(path: str, data: bytes) -> ElfFile:
    return ElfFile(decompress(data, _match_name(path)[2] or "", MAX_MODULE_SIZE))


def _match_name(path: str) -> re.Match[str]:
    match = _NAME.search(path)
    assert match is not None, path
    return match


def read_builtins(modinfo: bytes) -> BuiltinModules | Malformed:
    """Read modules.builtin.modinfo: "name.field=value", each ended by a zero byte."""
    fields: dict[str, list[tuple[str, str]]] = {}
    try:
        for raw in modinfo.split(b"\0"):
            name, dot, rest = _decode_field(raw).partition(".")
            field, equals, value = rest.partition("=")
            if dot and equals:
                fields.setdefault(_normalise_name(name), []).append((field, value))
    except MalformedFile as damage:
        return Malformed(damage.reason)
    return BuiltinModules({name: _build_module(name, fields[name]) for name in sorted(fields)})


def read_builtin_names(text: bytes) -> BuiltinModules:
    """Read modules.builtin: one path of a module below the kernel's tree on each line."""
    lines = text.decode("utf-8", "replace").split()
    names = {_normalise_name(found[1]) for line in lines if (found := _NAME.search(line))}
    return BuiltinModules({name: Module(name) for name in sorted(names)})


def _normalise_name(name: str) -> str:
    return name.replace("-", "_")


def _parse_modinfo(modinfo: bytes) -> list[tuple[str, str]]:
    """Fields in the section's order; what is no field is left out, as modinfo does."""
    pairs = (_decode_field(raw).partition("=") for raw in modinfo.split(b"\0"))
    return [(field, value) for field, equals, value in pairs if equals]


def _decode_field(raw: bytes) -> str:
    """Text of a field; descriptions may have any byte and are not kept: "" for them.

    Raises: Damage when a field that counts is not plain text.
    """
    field = raw.partition(b"=")[0].rpartition(b".")[2]
    return decode_printable(raw) if field in _RELEVANT_FIELDS else ""


_RELEVANT_FIELDS = frozenset(
    {b"name", b"depends", b"softdep", b"weakdep", b"firmware", b"alias", b"vermagic"}
)


def _build_module(name: str, fields: list[tuple[str, str]]) -> Module:
    values: dict[str, list[str]] = {}
    for field, value in fields:
        values.setdefault(field, []).append(value)
    pre, post = _parse_softdep(values.get("softdep", []))
    return Module(
        name=_normalise_name(values["name"][0]) if "name" in values else name,
        depends=_split_names(values.get("depends", [])),
        soft_pre=pre,
        soft_post=post,
        weak=_split_names(values.get("weakdep", [])),
        firmware=tuple(values.get("firmware", [])),
        aliases=tuple(values.get("alias", [])),
        vermagic=values.get("vermagic", [""])[0].strip(),
    )


def _split_names(values: list[str]) -> tuple[str, ...]:
    return tuple(
        _normalise_name(word) for value in values for word in _SEPARATORS.split(value) if word
    )


def _parse_softdep(values: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """ "pre: a b post: c", also in several fields. Source: modprobe.d(5), softdep."""
    modules: dict[str, list[str]] = {"pre:": [], "post:": []}
    for value in values:
        target: list[str] = []
        for word in value.split():
            if word.endswith(":"):
                target = modules.get(word, [])
            else:
                target.append(_normalise_name(word))
    return tuple(modules["pre:"]), tuple(modules["post:"])
