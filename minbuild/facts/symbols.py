"""The dynamic symbols of an ELF object with their versions.

They are counted and found from the dynamic segment where there are no section headers.
Source: gABI chapter 5 (hash table, symbol table), LSB "Symbol Versioning", ELF gnu hash.
"""

from minbuild.facts import elftable
from minbuild.facts.damage import Damage
from minbuild.facts.elf import version_defs, version_needs
from minbuild.facts.elftable import Bytes, Table
from minbuild.facts.types import Symbols

STB_LOCAL, STB_WEAK = 0, 2
STV_INTERNAL, STV_HIDDEN = 1, 2
SHN_UNDEF = 0
_REPEATS = 32
"""How often symbols may share the text of the string table, on average."""
_ROW = {32: "IIIBBH", 64: "IBBHQQ"}


def symbols(data: Bytes) -> Symbols | None:
    """Read the dynamic symbols; None without any, or where the file is damaged."""
    try:
        table = Table(data)
        if table.dynamic is None or elftable.DT_SYMTAB not in table.tags:
            return None
        return _symbols(table)
    except Damage:
        return None


def _symbols(table: Table) -> Symbols:
    layout = _ROW[table.bits]
    start = table.offset(table.tags[elftable.DT_SYMTAB])
    size = 24 if table.bits == 64 else 16
    count = _count(table, start, size)
    if start + count * size > len(table.data):
        raise Damage("its symbol table is longer than the file")
    versions = _versions(table, count)
    names = version_needs(table)[1] | version_defs(table)[1]
    strings = table.strings
    left = _REPEATS * len(strings)
    defined: set[str] = set()
    undefined: set[str] = set()
    weak: set[str] = set()
    rows = table.rows(layout, start, count * size)
    for row, version in zip(rows, versions, strict=True):
        if table.bits == 64:
            place, info, other, section, _, _ = row
        else:
            place, _, _, info, other, section = row
        binding = info >> 4
        if binding == STB_LOCAL or other & 3 in (STV_INTERNAL, STV_HIDDEN) or not place:
            continue
        end = strings.find(b"\0", place)
        left -= end - place
        if left < 0 or end < 0:
            raise Damage("its symbols have more text than its string table")
        name = strings[place:end].decode("utf-8", "backslashreplace")
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


def _versions(table: Table, count: int) -> tuple[int, ...]:
    """The version index of each symbol: 1, no version, where there are none."""
    if elftable.DT_VERSYM not in table.tags:
        return (1,) * count
    return table.unpack(f"{count}H", table.offset(table.tags[elftable.DT_VERSYM]))


def _count(table: Table, start: int, size: int) -> int:
    """How many rows the dynamic symbol table at `start` has."""
    for section in table.sections:
        if section.kind == elftable.SHT_DYNSYM and section.offset == start:
            return section.size // size
    if elftable.DT_HASH in table.tags and table.machine not in _WIDE_HASH:
        return table.unpack("II", table.offset(table.tags[elftable.DT_HASH]))[1]
    found = _gnu_count(table) if elftable.DT_GNU_HASH in table.tags else 0
    if elftable.DT_STRTAB not in table.tags:
        raise Damage("it has symbols and no string table")
    behind = table.offset(table.tags[elftable.DT_STRTAB]) - start
    return max(found, behind // size if found <= 1 and behind > 0 else 0)


_WIDE_HASH = frozenset({22, 0x9026})
"""s390x and Alpha have hash tables of 64-bit words."""


def _gnu_count(table: Table) -> int:
    """One more than the last symbol of the GNU hash table; 0 or 1 for an empty one."""
    place = table.offset(table.tags[elftable.DT_GNU_HASH])
    buckets, first, bloom, _ = table.unpack("IIII", place)
    chains = place + 16 + bloom * table.bits // 8
    last = max((row[0] for row in table.rows("I", chains, buckets * 4)), default=0)
    if last < first:
        return first
    chains += buckets * 4
    while not table.unpack("I", chains + (last - first) * 4)[0] & 1:
        last += 1
    return last + 1
