"""What an ELF object asks of the loader. The one door to pyelftools.

pyelftools gives the names of machines and types; its own readers of sections and symbols are too
slow for whole packages and stop at section headers that no loader reads, so `elftable` unpacks
the tables, and the tests hold both against each other.
Source: elf(5), ld.so(8), gABI chapter 5, Linux Standard Base "Symbol Versioning".
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache

from minbuild.facts import elftable
from minbuild.facts.damage import Damage
from minbuild.facts.elftable import Bytes, Table, readable
from minbuild.facts.types import Damaged, Dlopen, Elf, Filter, VersionNeed

DF_1_NODEFLIB, DF_1_PIE = 0x800, 0x08000000
VER_FLG_BASE, VER_FLG_WEAK = 1, 2
NOTE_DLOPEN = 0x407C0C0A
"""Type of the note of owner FDO. Source: UAPI group, dlopen() Metadata for ELF Files."""
_SONAME = re.compile(rb"lib[A-Za-z0-9_.+-]+\.so(?:\.[0-9]+)*\0")
_PRIORITIES = frozenset({"required", "recommended", "suggested"})


def elf(data: Bytes, *, strings: bool = True) -> Elf | Damaged:
    """Read the facts of a file that starts with the ELF magic.

    `strings`: look through all read-only data for possible dlopens, too.
    """
    try:
        return _elf(Table(data), strings=strings)
    except Damage as damage:
        return Damaged(damage.reason)


def _elf(table: Table, *, strings: bool) -> Elf:
    flags_1 = table.tags.get(elftable.DT_FLAGS_1, 0)
    needed = _strings(table, elftable.DT_NEEDED)
    soname = "".join(_strings(table, elftable.DT_SONAME)[:1])
    notes = tuple(_dlopen(table))
    known = {*needed, soname, *(name for note in notes for name in note.sonames)}
    return Elf(
        bits=table.bits,
        little=table.little,
        machine=_machine(table.machine),
        kind=_kind(table.type),
        flags=table.flags,
        osabi=table.osabi,
        interpreter=_interpreter(table),
        dynamic=table.dynamic is not None,
        soname=soname,
        needed=needed,
        rpath=_paths(_strings(table, elftable.DT_RPATH)),
        runpath=_paths(_strings(table, elftable.DT_RUNPATH)),
        nodeflib=bool(flags_1 & DF_1_NODEFLIB),
        pie=bool(flags_1 & DF_1_PIE),
        audit=tuple(name for name in _paths(_audits(table)) if name),
        dlopen=notes,
        version_needs=version_needs(table)[0],
        version_defs=version_defs(table)[0],
        maybe_dlopen=tuple(sorted(_sonames(table) - known)) if strings else (),
        filters=tuple(_filters(table)),
    )


@cache
def _names() -> tuple[dict[int, str], dict[int, str]]:
    from elftools.elf.enums import ENUM_E_MACHINE, ENUM_E_TYPE

    def turned(names: Mapping[str, object]) -> dict[int, str]:
        return {number: name for name, number in names.items() if isinstance(number, int)}

    return turned(ENUM_E_MACHINE), turned(ENUM_E_TYPE)


def _machine(number: int) -> str:
    return _names()[0].get(number, f"EM_{number}")


def _kind(number: int) -> str:
    return _names()[1].get(number, f"ET_{number}")


def _interpreter(table: Table) -> str:
    for segment in table.segments:
        if segment.kind == elftable.PT_INTERP:
            return readable(elftable.text(table.piece(segment.offset, segment.size), 0))
    return ""


def _strings(table: Table, tag: int) -> tuple[str, ...]:
    return tuple(table.string(value) for found, value in table.dynamic or () if found == tag)


def _filters(table: Table) -> Iterator[Filter]:
    if elftable.DT_FILTER not in table.tags and elftable.DT_AUXILIARY not in table.tags:
        return
    after = 0
    for tag, value in table.dynamic or ():
        after += tag == elftable.DT_NEEDED
        if tag in (elftable.DT_FILTER, elftable.DT_AUXILIARY):
            yield Filter(table.string(value), tag == elftable.DT_AUXILIARY, after)


def _audits(table: Table) -> tuple[str, ...]:
    return (*_strings(table, elftable.DT_AUDIT), *_strings(table, elftable.DT_DEPAUDIT))


def _paths(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Directories of search paths, empty ones too: even an empty RUNPATH makes RPATHs void."""
    return tuple(part for text in texts for part in text.split(":"))


def _dlopen(table: Table) -> Iterator[Dlopen]:
    for segment in table.segments:
        if segment.kind != elftable.PT_NOTE:
            continue
        align = 8 if segment.align == 8 else 4
        for owner, kind, content in _notes(table, segment.offset, segment.size, align):
            if owner == b"FDO\0" and kind == NOTE_DLOPEN:
                yield from _entries(content)


def _notes(table: Table, place: int, size: int, align: int) -> Iterator[tuple[bytes, int, bytes]]:
    end = place + size
    while place + 12 <= end:
        name_size, size, kind = table.unpack("III", place)
        content = place + 12 + name_size + -(12 + name_size) % align
        if content + size > end:
            raise Damage("it has a truncated note")
        yield table.piece(place + 12, name_size), kind, table.piece(content, size)
        place = content + size + -size % align


def _entries(content: bytes) -> Iterator[Dlopen]:
    try:
        found = json.loads(content.rstrip(b"\0"))
    except (ValueError, RecursionError) as error:
        raise Damage("its .note.dlopen is not JSON") from error
    if not isinstance(found, list):
        raise Damage("its .note.dlopen is not a list")
    for one in found:
        sonames = one.get("soname") if isinstance(one, dict) else None
        if not isinstance(sonames, list) or not all(_is_name(name) for name in sonames):
            raise Damage("its .note.dlopen has an entry without sonames")
        priority = one.get("priority", "recommended")
        if not isinstance(priority, str) or priority not in _PRIORITIES:
            raise Damage(f"its .note.dlopen has an unknown priority: {priority!r}")
        feature, description = one.get("feature", ""), one.get("description", "")
        yield Dlopen(tuple(sonames), priority, str(feature), str(description))


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and name.isprintable()


def _sonames(table: Table) -> set[str]:
    """Whole strings of read-only data that look like a soname."""
    found: set[str] = set()
    size = len(table.data)
    for start, end in read_only(table):
        if start > size:
            continue
        for match in _SONAME.finditer(table.data, start, min(end, size)):
            if match.start() == start or table.data[match.start() - 1] == 0:
                found.add(match[0][:-1].decode("ascii"))
    return found


def read_only(table: Table) -> Iterator[tuple[int, int]]:
    """Read-only data in the file, as start and end: sections where there are any, else segments."""
    wanted, forbidden = elftable.SHF_ALLOC, elftable.SHF_WRITE | elftable.SHF_EXECINSTR
    for section in table.sections:
        if section.kind == elftable.SHT_PROGBITS and section.flags & (wanted | forbidden) == wanted:
            yield section.offset, section.offset + section.size
    if not table.sections:
        for segment in table.segments:
            if segment.kind == elftable.PT_LOAD and not segment.flags & elftable.PF_W:
                yield segment.offset, segment.offset + segment.size


def version_needs(table: Table) -> tuple[tuple[VersionNeed, ...], dict[int, str]]:
    """The versions wanted of each library, and the version that each index stands for."""
    if elftable.DT_VERNEED not in table.tags:
        return (), {}
    place = table.offset(table.tags[elftable.DT_VERNEED])
    needs: list[VersionNeed] = []
    indices: dict[int, str] = {}
    left = elftable.MOST_DYNAMIC
    for _ in range(table.tags.get(elftable.DT_VERNEEDNUM, 0)):
        _, count, library, auxiliary, after = table.unpack("HHIII", place)
        versions: list[str] = []
        weak: list[str] = []
        at = place + auxiliary
        left -= count + 1
        if left < 0:
            raise Damage("it needs more versions than any linker writes")
        for _ in range(count):
            _, flags, index, name, step = table.unpack("IHHII", at)
            versions.append(table.string(name))
            if flags & VER_FLG_WEAK:
                weak.append(versions[-1])
            indices[index & 0x7FFF] = versions[-1]
            if not step:
                break
            at += step
        needs.append(VersionNeed(table.string(library), tuple(versions), tuple(weak)))
        if not after:
            break
        place += after
    return tuple(needs), indices


def version_defs(table: Table) -> tuple[tuple[str, ...], dict[int, str]]:
    """The versions defined (the file's own name apart), and which index stands for each."""
    if elftable.DT_VERDEF not in table.tags:
        return (), {}
    place = table.offset(table.tags[elftable.DT_VERDEF])
    indices: dict[int, str] = {}
    for _ in range(min(table.tags.get(elftable.DT_VERDEFNUM, 0), elftable.MOST_DYNAMIC)):
        _, flags, index, _, _, auxiliary, after = table.unpack("HHHHIII", place)
        name, _ = table.unpack("II", place + auxiliary)
        if not flags & VER_FLG_BASE:
            indices[index & 0x7FFF] = table.string(name)
        if not after:
            break
        place += after
    return tuple(indices.values()), indices
