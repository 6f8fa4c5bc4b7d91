"""ELF objects and kernel modules made byte by byte, as the loader and pyelftools read them.

Source: elf(5), the generic ABI chapters 4 and 5, LSB symbol versioning, UAPI group's dlopen notes.
"""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

MACHINES = {"amd64": 62, "i386": 3, "arm64": 183, "armhf": 40, "riscv64": 243, "s390x": 22}
LOADER = "/lib64/ld-linux-x86-64.so.2"
_PAGE = 0x1000


@dataclass(frozen=True, slots=True)
class Elf:
    """One executable or shared object to be made."""

    soname: str = ""
    needed: Sequence[str] = ()
    filters: Sequence[str] = ()
    """DT_FILTER; `?name`: DT_AUXILIARY."""
    filters_first: bool = False
    """True: they stand before DT_NEEDED."""
    interp: str = ""
    rpath: str = ""
    runpath: str = ""
    exports: Sequence[str] = ()
    """Defined symbols: `name` or `name@VERSION` (the version becomes a definition)."""
    imports: Sequence[str] = ()
    """Undefined symbols: `name`, `name@VERSION` (of a library in `versions`); `?name`: weak."""
    versions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Version needs: library → versions; a version that starts with `?` is flagged weak."""
    dlopen: Sequence[Mapping[str, object]] = ()
    """Entries of `.note.dlopen`: {"soname": ["libx.so.1"], "priority": "required"}."""
    rodata: bytes = b""
    bits: int = 64
    big: bool = False
    machine: int = 62
    flags: int = 0
    executable: bool = False
    """True: ET_EXEC instead of ET_DYN."""
    dynamic: bool = True
    """False: no PT_DYNAMIC, as in a static program."""
    audit: str = ""
    depaudit: str = ""
    df_1: int = 0
    """DT_FLAGS_1: 0x800 is NODEFLIB, 0x08000000 is PIE."""


@dataclass(slots=True)
class _Section:
    name: str
    kind: int
    data: bytes
    flags: int = 2
    link: str = ""
    info: int = 0
    entry: int = 0
    align: int = 8
    offset: int = 0


class _Strings:
    """A string table that grows."""

    def __init__(self) -> None:
        self.data = b"\0"

    def at(self, text: str) -> int:
        raw = text.encode() + b"\0"
        offset = self.data.find(b"\0" + raw)
        if offset >= 0:
            return offset + 1
        self.data += raw
        return len(self.data) - len(raw)


class _Form:
    """How numbers are laid out for one class and byte order."""

    def __init__(self, *, bits: int, big: bool) -> None:
        self.bits, self.big = bits, big
        self.word = "Q" if bits == 64 else "I"

    def pack(self, form: str, *values: int) -> bytes:
        return struct.pack((">" if self.big else "<") + form.replace("W", self.word), *values)

    def symbol(self, name: int, info: int, section: int, value: int = 0x40) -> bytes:
        value = value if section else 0
        if self.bits == 64:
            return self.pack("IBBHQQ", name, info, 0, section, value, 0)
        return self.pack("IIIBBH", name, value, 0, info, 0, section)

    def program(self, kind: int, flags: int, offset: int, size: int, align: int) -> bytes:
        if self.bits == 64:
            return self.pack("IIQQQQQQ", kind, flags, offset, offset, offset, size, size, align)
        return self.pack("IIIIIIII", kind, offset, offset, offset, size, size, flags, align)

    def header(self, kind: int, spec: Elf, programs: int, sections: int, table: int) -> bytes:
        ident = b"\x7fELF" + bytes([self.bits // 32, 1 + self.big, 1]) + bytes(9)
        ehsize, phsize, shsize = self.sizes
        start = ehsize if programs else 0
        numbers = (ehsize, phsize if programs else 0, programs, shsize, sections, sections - 1)
        return ident + self.pack(
            "HHIWWWIHHHHHH", kind, spec.machine, 1, 0, start, table, spec.flags, *numbers
        )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Of the ELF header, a program header, a section header."""
        return (64, 56, 64) if self.bits == 64 else (52, 32, 40)


def elf(spec: Elf) -> bytes:
    """Make the bytes of one executable or shared object."""
    form = _Form(bits=spec.bits, big=spec.big)
    sections: list[_Section] = []
    if spec.interp:
        sections.append(_Section(".interp", 1, spec.interp.encode() + b"\0", align=1))
    tags: list[tuple[int, int]] = []
    if spec.dynamic:
        sections += _symbol_sections(form, spec, tags)
        room = bytes(form.bits // 4 * (len(tags) + 12))
        sections.append(_Section(".dynamic", 6, room, 3, ".dynstr", entry=form.bits // 4))
    if spec.dlopen:
        sections.append(_Section(".note.dlopen", 7, _notes(form, spec.dlopen), align=4))
    if spec.rodata:
        sections.append(_Section(".rodata", 1, spec.rodata, align=1))
    return _layout(form, 2 if spec.executable else 3, spec, sections, tags)


def module(
    info: Sequence[tuple[str, str]],
    *,
    imports: Sequence[str] = (),
    exports: Sequence[str] = (),
    signed: bool = False,
    machine: int = 62,
    packed: bool = False,
    calls: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Make a kernel module: `.modinfo` of (key, value) pairs, in order, and its symbols.

    `calls`: functions among `imports` (from x86-64 code), each with the string that it is given.

    `packed`: rows of versions as long as their names, as Ubuntu's kernels have them.

    `imports`, `exports`: `name`, or `name@CRC` in hex; `?name`: weak.
    """
    form = _Form(bits=64, big=False)
    strings = _Strings()
    symbols = form.symbol(0, 0, 0)
    versions = offered = b""
    for text in exports:
        name, _, crc = text.partition("@")
        symbols += form.symbol(strings.at(f"__ksymtab_{name}"), 0x10, 1)
        if crc:
            symbols += form.symbol(strings.at(f"__crc_{name}"), 0x10, 5, len(offered))
            offered += form.pack("I", int(crc, 16))
    for text in imports:
        name, _, crc = text.lstrip("?").partition("@")
        if name != "module_layout":
            symbols += form.symbol(strings.at(name), 0x20 if text[0] == "?" else 0x10, 0)
        if crc:
            versions += _version(form, name, int(crc, 16), packed=packed)
    versions += bytes(9) if packed else b""
    if calls:
        symbols += form.symbol(0, 3, 7, 0)  # the section of the strings, as the last symbol
    modinfo = b"".join(f"{key}={value}".encode() + b"\0" for key, value in info)
    sections = [
        _Section(".modinfo", 1, modinfo, align=1),
        _Section(".symtab", 2, symbols, flags=0, link=".strtab", info=1, entry=24),
        _Section(".strtab", 3, strings.data, flags=0, align=1),
        _Section("__versions", 1, versions, align=32),
        _Section("__kcrctab", 1, offered, align=4),
        *(_make_calls(form, calls, imports, sections_before=5) if calls else ()),
    ]
    data = _layout(form, 1, Elf(machine=machine), sections, [])
    return data + (bytes(12) + b"~Module signature appended~\n" if signed else b"")


def _make_calls(
    form: _Form, calls: Sequence[tuple[str, str]], imports: Sequence[str], *, sections_before: int
) -> list[_Section]:
    """Code whose relocations name a string (R_X86_64_32S) and then a function (R_X86_64_PLT32)."""
    names = [text.lstrip("?").partition("@")[0] for text in imports]
    strings = b""
    rows = []
    for number, (function, text) in enumerate(calls):
        at = 128 * number
        rows.append(form.pack("QQq", at + 3, (len(names) + 1) << 32 | 11, len(strings)))
        rows.append(form.pack("QQq", at + 8, (names.index(function) + 1) << 32 | 4, -4))
        strings += text.encode() + b"\0"
    return [
        _Section(".text", 1, bytes(128 * len(calls)), flags=6),
        _Section(".rodata.str1.1", 1, strings, align=1),
        _Section(
            ".rela.text", 4, b"".join(rows), flags=0, link=".symtab", info=sections_before + 1
        ),
    ]


def _version(form: _Form, name: str, crc: int, *, packed: bool) -> bytes:
    if not packed:
        return form.pack("Q", crc) + name.encode().ljust(56, b"\0")
    size = (8 + len(name) + 1 + 3) // 4 * 4
    return form.pack("I", size) + form.pack("I", crc) + name.encode().ljust(size - 8, b"\0")


def kernel(exports: Sequence[str], *, payload: Callable[[bytes], bytes] | None = None) -> bytes:
    """Make a vmlinux that exports `name` or `name@CRC`; with `payload`, a bzImage around it."""
    form = _Form(bits=64, big=False)
    strings = _Strings()
    names = [text.partition("@")[0] for text in exports]
    crcs = [int(text.partition("@")[2], 16) for text in exports if "@" in text]
    table = _Section("__ksymtab", 1, bytes(12 * len(names)), align=4)
    places = [strings.at(name) for name in names]
    text = _Section("__ksymtab_strings", 1, strings.data, align=1)
    sections = [table, text]
    if crcs:
        sections.append(_Section("__kcrctab", 1, form.pack("I" * len(crcs), *crcs), align=4))
    _layout(form, 2, Elf(), sections, [])  # now their places are known
    table.data = b"".join(
        form.pack("iii", 0, text.offset + path - (table.offset + 12 * number + 4), 0)
        for number, path in enumerate(places)
    )
    data = _layout(form, 2, Elf(), sections, [])
    if payload is None:
        return data
    packed = payload(data)
    head = bytearray(0x400)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    head[0x248:0x250] = form.pack("II", 0, len(packed))
    return bytes(head) + packed


def _symbol_sections(form: _Form, spec: Elf, tags: list[tuple[int, int]]) -> list[_Section]:
    """The sections that hold names, symbols and versions; fills `tags` for .dynamic."""
    strings = _Strings()
    tags += [(1, strings.at(name)) for name in spec.needed]
    filters = [
        (0x7FFFFFFD if name[0] == "?" else 0x7FFFFFFF, strings.at(name.lstrip("?")))
        for name in spec.filters
    ]
    tags[:] = [*filters, *tags] if spec.filters_first else [*tags, *filters]
    texts = [(14, spec.soname), (15, spec.rpath), (29, spec.runpath)]
    texts += [(0x6FFFFEFC, spec.audit), (0x6FFFFEFB, spec.depaudit)]
    tags += [(tag, strings.at(text)) for tag, text in texts if text]
    tags += [(0x6FFFFFFB, spec.df_1)] if spec.df_1 else []
    numbers = _version_numbers(spec)
    symbols, versym = form.symbol(0, 0, 0), form.pack("H", 0)
    for text, section in [*((t, 1) for t in spec.exports), *((t, 0) for t in spec.imports)]:
        name, _, version = text.lstrip("?").partition("@")
        symbols += form.symbol(strings.at(name), 0x20 if text[0] == "?" else 0x10, section)
        versym += form.pack("H", numbers[version] if version else 1)
    count = len(versym) // 2
    chain = [number + 1 if number + 1 < count else 0 for number in range(1, count)]
    word = "W" if spec.machine == MACHINES["s390x"] else "I"
    hashed = form.pack(word * (count + 3), 1, count, min(1, count - 1), 0, *chain)
    defined, definitions = _definitions(form, spec, numbers, strings)
    needs = _version_needs(form, spec, numbers, strings)
    width = 24 if form.bits == 64 else 16
    sections = [
        _Section(".hash", 5, hashed, link=".dynsym", entry=4),
        _Section(".dynsym", 11, symbols, link=".dynstr", info=1, entry=width),
        _Section(".dynstr", 3, strings.data, align=1),
    ]
    if numbers:
        sections.append(
            _Section(".gnu.version", 0x6FFFFFFF, versym, 2, ".dynsym", entry=2, align=2)
        )
    if defined:
        sections.append(_Section(".gnu.version_d", 0x6FFFFFFD, defined, 2, ".dynstr", definitions))
    if needs:
        sections.append(
            _Section(".gnu.version_r", 0x6FFFFFFE, needs, 2, ".dynstr", len(spec.versions))
        )
    return sections


def _version_numbers(spec: Elf) -> dict[str, int]:
    """Index of each version, from 2: first those defined, then those wanted."""
    own = [text.partition("@")[2] for text in spec.exports if "@" in text]
    others = [name.lstrip("?") for names in spec.versions.values() for name in names]
    return {name: number for number, name in enumerate(dict.fromkeys([*own, *others]), 2)}


def _definitions(
    form: _Form, spec: Elf, numbers: Mapping[str, int], strings: _Strings
) -> tuple[bytes, int]:
    own = dict.fromkeys(text.partition("@")[2] for text in spec.exports if "@" in text)
    if not own:
        return b"", 0
    rows = [(1, 1, spec.soname), *((0, numbers[name], name) for name in own)]
    out = b""
    for flags, index, name in rows:
        after = 28 if index != rows[-1][1] else 0
        out += form.pack("HHHHIII", 1, flags, index, 1, sysv_hash(name), 20, after)
        out += form.pack("II", strings.at(name), 0)
    return out, len(rows)


def _version_needs(form: _Form, spec: Elf, numbers: Mapping[str, int], strings: _Strings) -> bytes:
    out = b""
    *_, last = ["", *spec.versions]
    for library, names in spec.versions.items():
        after = 16 * (1 + len(names)) if library != last else 0
        out += form.pack("HHIII", 1, len(names), strings.at(library), 16, after)
        for path, text in enumerate(names, 1):
            name, flags = text.lstrip("?"), 2 if text.startswith("?") else 0
            following = 16 if path < len(names) else 0
            out += form.pack("IHH", sysv_hash(name), flags, numbers[name])
            out += form.pack("II", strings.at(name), following)
    return out


def _notes(form: _Form, entries: Sequence[Mapping[str, object]]) -> bytes:
    text = json.dumps([dict(entry) for entry in entries]).encode() + b"\0"
    return form.pack("III", 4, len(text), 0x407C0C0A) + b"FDO\0" + _pad(text, 4)


def _layout(
    form: _Form, kind: int, spec: Elf, sections: list[_Section], tags: Sequence[tuple[int, int]]
) -> bytes:
    """Put headers and sections in one file, mapped as a whole at address 0."""
    names = _Strings()
    places = {section.name: number for number, section in enumerate(sections, 1)}
    for section in sections:
        names.at(section.name)
    names.at(".shstrtab")
    sections = [*sections, _Section(".shstrtab", 3, names.data, flags=0, align=1)]
    known = (".interp", ".dynamic", ".note.dlopen")
    segments: list[str] = [name for name in known if name in places]
    programs = 0 if kind == 1 else 2 + len(segments)
    end = form.sizes[0] + form.sizes[1] * programs
    for section in sections:
        section.offset = end = -(-end // section.align) * section.align
        end += len(section.data)
    by_name = {section.name: section for section in sections}
    if ".dynamic" in by_name:
        by_name[".dynamic"].data = _dynamic(form, by_name, tags)
    table = -(-end // 8) * 8
    out = form.header(kind, spec, programs, len(sections) + 1, table)
    if programs:
        kinds = {".interp": 3, ".dynamic": 2, ".note.dlopen": 4}
        first = [n for n in segments if n == ".interp"]
        for name in first:
            out += form.program(3, 4, by_name[name].offset, len(by_name[name].data), 1)
        out += form.program(1, 6, 0, end, _PAGE)
        for name in segments[len(first) :]:
            out += form.program(kinds[name], 6, by_name[name].offset, len(by_name[name].data), 4)
        out += form.program(0x6474E551, 6, 0, 0, 16)
    for section in sections:
        out = out.ljust(section.offset, b"\0") + section.data
    out = out.ljust(table, b"\0") + bytes(form.sizes[2])
    for section in sections:
        address = section.offset if section.flags & 2 else 0
        out += form.pack(
            "IIWWWWIIWW", names.at(section.name), section.kind, section.flags, address,
            section.offset, len(section.data), places.get(section.link, 0), section.info,
            section.align, section.entry,
        )  # fmt: skip
    return out


def _dynamic(
    form: _Form, by_name: Mapping[str, _Section], tags: Sequence[tuple[int, int]]
) -> bytes:
    rows = [*tags, (10, len(by_name[".dynstr"].data)), (11, by_name[".dynsym"].entry)]
    addresses = {4: ".hash", 5: ".dynstr", 6: ".dynsym", 0x6FFFFFF0: ".gnu.version",
                 0x6FFFFFFC: ".gnu.version_d", 0x6FFFFFFE: ".gnu.version_r"}  # fmt: skip
    counts = {0x6FFFFFFD: ".gnu.version_d", 0x6FFFFFFF: ".gnu.version_r"}
    rows += [(tag, by_name[name].offset) for tag, name in addresses.items() if name in by_name]
    rows += [(tag, by_name[name].info) for tag, name in counts.items() if name in by_name]
    data = b"".join(form.pack("WW", tag, value) for tag, value in rows)
    return data.ljust(len(by_name[".dynamic"].data), b"\0")


def _pad(data: bytes, to: int) -> bytes:
    return data + bytes(-len(data) % to)


def sysv_hash(name: str) -> int:
    """Hash a version's name. Source: gABI, chapter 5, Hash Table."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & 0xFFFFFFFF
    return value
