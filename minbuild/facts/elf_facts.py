"""Facts of an ELF file that decide what the loader does with it, and its dynamic symbols with their
versions.

pyelftools gives the names of machines and types; its own readers of sections and symbols are too
slow for whole packages and stop at section headers that no loader reads, so `formats.elf_file`
unpacks the tables, and the tests hold both against each other.

Symbols are counted and found from the dynamic segment where there are no section headers.

Source: elf(5), ld.so(8), gABI chapter 5, Linux Standard Base "Symbol Versioning"; gABI chapter 5
(hash table, symbol table), LSB "Symbol Versioning", ELF gnu hash.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache

from minbuild.errors import MalformedFile
from minbuild.facts.model import Dlopen, Elf, Filter, Malformed, Symbols, VersionNeed
from minbuild.formats import elf_file
from minbuild.formats.elf_file import Bytes, ElfFile, decode_printable

DF_1_NODEFLIB, DF_1_PIE = 0x800, 0x08000000
VER_FLG_BASE, VER_FLG_WEAK = 1, 2
NOTE_DLOPEN = 0x407C0C0A
"""Type of the note of owner FDO. Source: UAPI group, dlopen() Metadata for ELF Files."""
_SONAME = re.compile(rb"(lib[A-Za-z0-9_.+-]+\.so(?:\.[0-9]+)*)(?=\0)")
_SONAME_AFTER_NUL = re.compile(rb"\0" + _SONAME.pattern)
"""With the byte itself: a text that begins with three letters is found ten times as fast as a place
behind one."""
_PRIORITIES = frozenset({"required", "recommended", "suggested"})

THREAD_CANCEL_FUNCTIONS = ("pthread_cancel", "pthread_exit", "thrd_exit")
"""Functions of libc that end the process when they cannot load LIBGCC.

Source: glibc nptl/pthread_cancel.c, nptl/pthread_exit.c ("libgcc_s.so.1 must be installed for
pthread_cancel to work"). backtrace() only returns nothing then, so it is none of them.
"""


def read_elf(data: Bytes, *, strings: bool = True) -> Elf | Malformed:
    """Read the facts of a file that starts with the ELF magic.

    `strings`: look through all read-only data for possible dlopens, too.
    """
    try:
        return _read_elf_facts(ElfFile(data), strings=strings)
    except MalformedFile as damage:
        return Malformed(damage.reason)


def _read_elf_facts(elf: ElfFile, *, strings: bool) -> Elf:
    flags_1 = elf.tags.get(elf_file.DT_FLAGS_1, 0)
    needed = _read_strings(elf, elf_file.DT_NEEDED)
    soname = "".join(_read_strings(elf, elf_file.DT_SONAME)[:1])
    notes = tuple(_read_dlopen_notes(elf))
    noted = {*needed, soname, *(name for note in notes for name in note.sonames)}
    return Elf(
        bits=elf.bits,
        little=elf.is_little_endian,
        machine=_name_machine(elf.machine),
        kind=_name_type(elf.type),
        flags=elf.flags,
        osabi=elf.osabi,
        interpreter=_read_interpreter(elf),
        dynamic=elf.dynamic is not None,
        soname=soname,
        needed=needed,
        rpath=_split_paths(_read_strings(elf, elf_file.DT_RPATH)),
        runpath=_split_paths(_read_strings(elf, elf_file.DT_RUNPATH)),
        nodeflib=bool(flags_1 & DF_1_NODEFLIB),
        pie=bool(flags_1 & DF_1_PIE),
        audit=tuple(name for name in _split_paths(_read_audits(elf)) if name),
        dlopen=notes,
        version_needs=read_version_needs(elf)[0],
        version_defs=read_version_defs(elf)[0],
        maybe_dlopen=tuple(sorted(_scan_sonames(elf) - noted)) if strings else (),
        filters=tuple(_read_filters(elf)),
        cancel_function=_find_cancel_function(elf),
    )


@cache
def _load_names() -> tuple[dict[int, str], dict[int, str]]:
    # 60 ms, and a build whose packages are all known reads no ELF object
    from elftools.elf.enums import ENUM_E_MACHINE, ENUM_E_TYPE

    def invert(names: Mapping[str, object]) -> dict[int, str]:
        return {number: name for name, number in names.items() if isinstance(number, int)}

    return invert(ENUM_E_MACHINE), invert(ENUM_E_TYPE)


def _name_machine(number: int) -> str:
    return _load_names()[0].get(number, f"EM_{number}")


def _name_type(number: int) -> str:
    return _load_names()[1].get(number, f"ET_{number}")


def _read_interpreter(elf: ElfFile) -> str:
    for segment in elf.segments:
        if segment.kind == elf_file.PT_INTERP:
            return decode_printable(elf.read_name(elf.read(segment.offset, segment.size), 0))
    return ""


def _read_strings(elf: ElfFile, tag: int) -> tuple[str, ...]:
    return tuple(
        elf.read_string(value) for entry_tag, value in elf.dynamic or () if entry_tag == tag
    )


def _read_filters(elf: ElfFile) -> Iterator[Filter]:
    if elf_file.DT_FILTER not in elf.tags and elf_file.DT_AUXILIARY not in elf.tags:
        return
    needed_count = 0
    for tag, value in elf.dynamic or ():
        needed_count += tag == elf_file.DT_NEEDED
        if tag in (elf_file.DT_FILTER, elf_file.DT_AUXILIARY):
            yield Filter(elf.read_string(value), tag == elf_file.DT_AUXILIARY, needed_count)


def _find_cancel_function(elf: ElfFile) -> str:
    """Which function that ends threads it calls; the symbols are read where a name is there at all."""
    if elf.dynamic is None or elf_file.DT_SYMTAB not in elf.tags:
        return ""
    try:
        names = [name for name in THREAD_CANCEL_FUNCTIONS if name.encode() in elf.strings]
        # a weak reference only asks whether there are threads: it is no call
        wanted = _decode_symbols(elf).undefined if names else ()
    except MalformedFile:
        return ""
    called = {symbol.partition("@")[0] for symbol in wanted}
    return next((name for name in names if name in called), "")


def _read_audits(elf: ElfFile) -> tuple[str, ...]:
    return (*_read_strings(elf, elf_file.DT_AUDIT), *_read_strings(elf, elf_file.DT_DEPAUDIT))


def _split_paths(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Directories of search paths, empty ones too: even an empty RUNPATH makes RPATHs void."""
    return tuple(part for text in texts for part in text.split(":"))


def _read_dlopen_notes(elf: ElfFile) -> Iterator[Dlopen]:
    for segment in elf.segments:
        if segment.kind != elf_file.PT_NOTE:
            continue
        align = 8 if segment.align == 8 else 4
        for owner, kind, content in _walk_notes(elf, segment.offset, segment.size, align):
            if owner == b"FDO\0" and kind == NOTE_DLOPEN:
                yield from _parse_dlopen_note(content)


def _walk_notes(
    elf: ElfFile, offset: int, size: int, align: int
) -> Iterator[tuple[bytes, int, bytes]]:
    end = offset + size
    while offset + 12 <= end:
        name_size, size, kind = elf.unpack_row("III", offset)
        content = offset + 12 + name_size + -(12 + name_size) % align
        if content + size > end:
            raise MalformedFile("it has a truncated note")
        yield elf.read(offset + 12, name_size), kind, elf.read(content, size)
        offset = content + size + -size % align


def _parse_dlopen_note(content: bytes) -> Iterator[Dlopen]:
    try:
        entries = json.loads(content.rstrip(b"\0"))
    except (ValueError, RecursionError) as error:
        raise MalformedFile("its .note.dlopen is not JSON") from error
    if not isinstance(entries, list):
        raise MalformedFile("its .note.dlopen is not a list")
    for entry in entries:
        sonames = entry.get("soname") if isinstance(entry, dict) else None
        if not isinstance(sonames, list) or not all(_is_name(name) for name in sonames):
            raise MalformedFile("its .note.dlopen has an entry without sonames")
        priority = entry.get("priority", "recommended")
        if not isinstance(priority, str) or priority not in _PRIORITIES:
            raise MalformedFile(f"its .note.dlopen has an unknown priority: {priority!r}")
        feature, description = entry.get("feature", ""), entry.get("description", "")
        yield Dlopen(tuple(sonames), priority, str(feature), str(description))


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and name.isprintable()


def _scan_sonames(elf: ElfFile) -> set[str]:
    """Whole strings of read-only data that look like a soname."""
    sonames: set[bytes] = set()
    size = len(elf.data)
    for start, end in find_read_only_data(elf):
        if start > size:
            continue
        stretch = elf.data, start, min(end, size)
        first = _SONAME.match(*stretch)
        sonames |= {first[1]} if first else set()
        sonames |= {match[1] for match in _SONAME_AFTER_NUL.finditer(*stretch)}
    return {name.decode("ascii") for name in sonames}


def find_read_only_data(elf: ElfFile) -> list[tuple[int, int]]:
    """Read-only data in the file: sections where there are any, else segments.

    Returns start and end of each stretch, in order; no byte is in two of them.
    """
    required, forbidden = elf_file.SHF_ALLOC, elf_file.SHF_WRITE | elf_file.SHF_EXECINSTR
    parts = [
        (section.offset, section.offset + section.size)
        for section in elf.sections
        if section.kind == elf_file.SHT_PROGBITS
        and section.flags & (required | forbidden) == required
    ]
    if not elf.sections:
        parts = [
            (segment.offset, segment.offset + segment.size)
            for segment in elf.segments
            if segment.kind == elf_file.PT_LOAD and not segment.flags & elf_file.PF_W
        ]
    stretches: list[tuple[int, int]] = []
    for start, end in sorted(parts):
        previous_end = stretches[-1][1] if stretches else 0
        if end > max(start, previous_end):
            stretches.append((max(start, previous_end), end))
    return stretches


def read_version_needs(elf: ElfFile) -> tuple[tuple[VersionNeed, ...], dict[int, str]]:
    """The versions wanted of each library, and the version of each index."""
    if elf_file.DT_VERNEED not in elf.tags:
        return (), {}
    offset = elf.find_offset(elf.tags[elf_file.DT_VERNEED])
    needs: list[VersionNeed] = []
    indices: dict[int, str] = {}
    remaining = elf_file.MAX_DYNAMIC
    for _ in range(elf.tags.get(elf_file.DT_VERNEEDNUM, 0)):
        _, count, library, auxiliary, after = elf.unpack_row("HHIII", offset)
        versions: list[str] = []
        weak: list[str] = []
        aux_offset = offset + auxiliary
        remaining -= count + 1
        if remaining < 0:
            raise MalformedFile("it needs more versions than any linker writes")
        for _ in range(count):
            _, flags, index, name, step = elf.unpack_row("IHHII", aux_offset)
            versions.append(elf.read_string(name))
            if flags & VER_FLG_WEAK:
                weak.append(versions[-1])
            indices[index & 0x7FFF] = versions[-1]
            if not step:
                break
            aux_offset += step
        needs.append(VersionNeed(elf.read_string(library), tuple(versions), tuple(weak)))
        if not after:
            break
        offset += after
    return tuple(needs), indices


def read_version_defs(elf: ElfFile) -> tuple[tuple[str, ...], dict[int, str]]:
    """The versions defined (the file's own name apart), and the index of each."""
    if elf_file.DT_VERDEF not in elf.tags:
        return (), {}
    offset = elf.find_offset(elf.tags[elf_file.DT_VERDEF])
    indices: dict[int, str] = {}
    for _ in range(min(elf.tags.get(elf_file.DT_VERDEFNUM, 0), elf_file.MAX_DYNAMIC)):
        _, flags, index, _, _, auxiliary, after = elf.unpack_row("HHHHIII", offset)
        name, _ = elf.unpack_row("II", offset + auxiliary)
        if not flags & VER_FLG_BASE:
            indices[index & 0x7FFF] = elf.read_string(name)
        if not after:
            break
        offset += after
    return tuple(indices.values()), indices


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
