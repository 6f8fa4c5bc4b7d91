"""The dynamic symbols of an ELF object with their versions.

They are counted and found from the dynamic segment where there are no section headers.
Source: gABI chapter 5 (hash table, symbol table), LSB "Symbol Versioning", ELF gnu hash.
"""

from minbuild.errors import MalformedFile
from minbuild.facts.elf_facts import read_version_defs, read_version_needs
from minbuild.facts.model import Symbols
from minbuild.formats import elf_file
from minbuild.formats.elf_file import Bytes, ElfFile

STB_LOCAL, STB_WEAK = 0, 2
STV_INTERNAL, STV_HIDDEN = 1, 2
SHN_UNDEF = 0
_REPEATS = 32
"""How often symbols may share the text of the string table, on average."""
_ROW = {32: "IIIBBH", 64: "IBBHQQ"}


def read_elf_symbols(data: Bytes) -> Symbols | None:
    """Read the dynamic symbols; None without any, or where the file is damaged."""
    try:
        elf = ElfFile(data)
        if elf.dynamic is None or elf_file.DT_SYMTAB not in elf.tags:
            return None
        return _decode_symbols(elf)
    except MalformedFile:
        return None


def _decode_symbols(elf: ElfFile) -> Symbols:
    layout = _ROW[elf.bits]
    start = elf.find_offset(elf.tags[elf_file.DT_SYMTAB])
    size = 24 if elf.bits == 64 else 16
    count = _count_symbols(elf, start, size)
    if start + count * size > len(elf.data):
        raise MalformedFile("its symbol table is longer than the file")
    versions = _read_version_indices(elf, count)
    names = read_version_needs(elf)[1] | read_version_defs(elf)[1]
    strings = elf.strings
    text_budget = _REPEATS * len(strings)
    defined: set[str] = set()
    undefined: set[str] = set()
    weak: set[str] = set()
    rows = elf.unpack_rows(layout, start, count * size)
    for row, version in zip(rows, versions, strict=True):
        if elf.bits == 64:
            name_offset, info, other, section, _, _ = row
        else:
            name_offset, _, _, info, other, section = row
        binding = info >> 4
        if binding == STB_LOCAL or other & 3 in (STV_INTERNAL, STV_HIDDEN) or not name_offset:
            continue
        end = strings.find(b"\0", name_offset)
        text_budget -= end - name_offset
        if text_budget < 0 or end < 0:
            raise MalformedFile("its symbols have more text than its string table")
        name = strings[name_offset:end].decode("utf-8", "backslashreplace")
        if not name:
            continue
        suffix = names.get(version & 0x7FFF)
        if suffix is not None:
            name = f"{name}@{suffix}"
        if section != SHN_UNDEF:
            defined.add(name)
        elif binding == STB_WEAK:
            weak.add(name)
        else:
            undefined.add(name)
    return Symbols(tuple(sorted(defined)), tuple(sorted(undefined)), tuple(sorted(weak)))


def _read_version_indices(elf: ElfFile, count: int) -> tuple[int, ...]:
    """The version index of each symbol: 1, no version, where there are none."""
    if elf_file.DT_VERSYM not in elf.tags:
        return (1,) * count
    return elf.unpack_row(f"{count}H", elf.find_offset(elf.tags[elf_file.DT_VERSYM]))


def _count_symbols(elf: ElfFile, start: int, size: int) -> int:
    """How many rows the dynamic symbol table at `start` has."""
    for section in elf.sections:
        if section.kind == elf_file.SHT_DYNSYM and section.offset == start:
            return section.size // size
    if elf_file.DT_HASH in elf.tags and elf.machine not in _WIDE_HASH:
        return elf.unpack_row("II", elf.find_offset(elf.tags[elf_file.DT_HASH]))[1]
    hash_count = _count_gnu_hash(elf) if elf_file.DT_GNU_HASH in elf.tags else 0
    if elf_file.DT_STRTAB not in elf.tags:
        raise MalformedFile("it has symbols and no string table")
    space = elf.find_offset(elf.tags[elf_file.DT_STRTAB]) - start
    return max(hash_count, space // size if hash_count <= 1 and space > 0 else 0)


_WIDE_HASH = frozenset({22, 0x9026})
"""s390x and Alpha have hash tables of 64-bit words."""


def _count_gnu_hash(elf: ElfFile) -> int:
    """One more than the last symbol of the GNU hash table; 0 or 1 for an empty one."""
    offset = elf.find_offset(elf.tags[elf_file.DT_GNU_HASH])
    buckets, first, bloom, _ = elf.unpack_row("IIII", offset)
    chains = offset + 16 + bloom * elf.bits // 8
    last = max((row[0] for row in elf.unpack_rows("I", chains, buckets * 4)), default=0)
    if last < first:
        return first
    chains += buckets * 4
    while not elf.unpack_row("I", chains + (last - first) * 4)[0] & 1:
        last += 1
    return last + 1
