"""Parts of an ELF file: header, segments, sections, addresses.

Tables are unpacked with struct, all rows at once: a library that builds an object for each row
takes a hundred times as long. Source: elf(5), the generic ABI (gABI).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from mmap import mmap

from minbuild.errors import MalformedFile
from minbuild.formats import magic

Bytes = bytes | mmap
"""A file in memory, or mapped: then only what is looked at is read."""
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_NOBITS, SHT_DYNSYM = 1, 2, 3, 8, 11
SHN_UNDEF = 0
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
PF_W = 2
MAX_STRING = 1 << 16
"""Bytes of the longest string that is read."""
MAX_DYNAMIC = 1 << 14
"""Entries of the longest dynamic segment, list of versions or list of notes that is read."""
MAX_SECTION_NAME = 255
"""Bytes of a section's name that are read."""
_MAX_READS, _MAX_TEXT, _SLACK = 32, 8, 1 << 20
"""How many times its own size a file may have read of it, and in names, and bytes beyond that.

Its tables may name the same bytes any number of times: without a limit a megabyte stands for hours.
"""
_HEADER = {32: "HHIIIIIHHHHHH", 64: "HHIQQQIHHHHHH"}
_SEGMENT = {32: "IIIIIIII", 64: "IIQQQQQQ"}
_SECTION = {32: "IIIIIIIIII", 64: "IIQQQQIIQQ"}


@dataclass(frozen=True, slots=True)
class ElfSegment:
    kind: int
    flags: int
    offset: int
    address: int
    size: int
    """In the file."""
    align: int


@dataclass(frozen=True, slots=True)
class ElfSection:
    name: bytes
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    address: int


class ElfFile:
    """One ELF file in memory."""

    def __init__(self, data: Bytes) -> None:
        """Raises: MalformedFile when there is no sound ELF header."""
        if data[:4] != magic.ELF or len(data) < 52:
            raise MalformedFile("its ELF header is truncated")
        self.data = data
        self.bits = {1: 32, 2: 64}.get(data[4], 0)
        self.is_little_endian = data[5] == 1
        self._read_budget = _SLACK + _MAX_READS * len(data)
        self._text_budget = _SLACK + _MAX_TEXT * len(data)
        if not self.bits or data[5] not in (1, 2):
            raise MalformedFile("its ELF header names no known class or byte order")
        self.byte_order = "<" if self.is_little_endian else ">"
        self.osabi = data[7]
        fields = self.unpack_row(_HEADER[self.bits], 16)
        self.type, self.machine = fields[0], fields[1]
        self._segments_offset, self._sections_offset, self.flags = fields[4:7]
        self._segment_size, self._segment_count = fields[8:10]
        self._section_size, self._section_count, self._names_section = fields[10:13]

    def unpack_row(self, layout: str, offset: int) -> tuple[int, ...]:
        """Unpack one row at `offset`. Raises: MalformedFile when it is not in the file."""
        try:
            return struct.unpack_from(self.byte_order + layout, self.data, offset)
        except (struct.error, OverflowError) as error:
            raise MalformedFile(f"its ELF tables point outside of it (at {offset})") from error

    def unpack_rows(self, layout: str, offset: int, size: int) -> Iterator[tuple[int, ...]]:
        """Unpack all whole rows of `size` bytes at `offset`."""
        row = struct.Struct(self.byte_order + layout)
        return row.iter_unpack(self.read(offset, size - size % row.size))

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`.

        Raises: MalformedFile when they are not all in the file, or its tables lead to the same
        bytes again and again.
        """
        if offset < 0 or size < 0 or offset + size > len(self.data):
            raise MalformedFile(f"its ELF tables point outside of it ({size} bytes at {offset})")
        self._read_budget -= size
        if self._read_budget < 0:
            raise MalformedFile("its ELF tables share more bytes than any linker lets them")
        return self.data[offset : offset + size]

    @cached_property
    def segments(self) -> tuple[ElfSegment, ...]:
        """Program headers, in the file's order. Raises: MalformedFile."""
        layout = _SEGMENT[self.bits]
        if self._segment_count and self._segment_size != struct.calcsize("=" + layout):
            raise MalformedFile("its program headers have a wrong size")
        rows = self.unpack_rows(
            layout, self._segments_offset, self._segment_count * self._segment_size
        )
        if self.bits == 64:
            return tuple(ElfSegment(k, f, o, a, n, g) for k, f, o, a, _, n, _, g in rows)
        return tuple(ElfSegment(k, f, o, a, n, g) for k, o, a, _, n, _, f, g in rows)

    @cached_property
    def sections(self) -> tuple[ElfSection, ...]:
        """Section headers; () when there are none or they are unsound: no loader reads them."""
        layout = _SECTION[self.bits]
        if not self._sections_offset or self._section_size != struct.calcsize("=" + layout):
            return ()
        try:
            count, names_section = self._section_count, self._names_section
            if not count or names_section == 0xFFFF:
                first = self.unpack_row(layout, self._sections_offset)
                count = count or first[5]
                names_section = first[6] if names_section == 0xFFFF else names_section
            rows = list(self.unpack_rows(layout, self._sections_offset, count * self._section_size))
            names = self.read(*rows[names_section][4:6]) if names_section < len(rows) else b""
        except MalformedFile:
            return ()
        return tuple(
            ElfSection(
                read_c_string(names, row[0], MAX_SECTION_NAME),
                row[1],
                row[2],
                row[4],
                row[5],
                row[6],
                row[7],
                row[3],
            )
            for row in rows
        )

    def read_section(self, name: bytes) -> bytes:
        """The content of the first section with this name; b"" without one. Raises: MalformedFile."""
        for section in self.sections:
            if section.name == name and section.kind != SHT_NOBITS:
                return self.read(section.offset, section.size)
        return b""

    def find_offset(self, address: int) -> int:
        """Where in the file lies what is loaded at `address`. Raises: MalformedFile."""
        for segment in self._load_segments:
            if segment.address <= address < segment.address + segment.size:
                return segment.offset + address - segment.address
        raise MalformedFile(f"its dynamic segment points outside of what is loaded ({address:#x})")

    @cached_property
    def _load_segments(self) -> tuple[ElfSegment, ...]:
        return tuple(segment for segment in self.segments if segment.kind == PT_LOAD)

    @cached_property
    def dynamic(self) -> tuple[tuple[int, int], ...] | None:
        """Tags and values of PT_DYNAMIC up to DT_NULL; None without one. Raises: MalformedFile."""
        for segment in self.segments:
            if segment.kind == PT_DYNAMIC:
                layout = "II" if self.bits == 32 else "QQ"
                if segment.size > MAX_DYNAMIC * struct.calcsize("=" + layout):
                    raise MalformedFile("its dynamic segment is larger than any linker makes it")
                entries: list[tuple[int, int]] = []
                for tag, value in self.unpack_rows(layout, segment.offset, segment.size):
                    if tag == 0:
                        break
                    entries.append((tag, value))
                return tuple(entries)
        return None

    @cached_property
    def tags(self) -> dict[int, int]:
        """The last value of each tag of PT_DYNAMIC. Raises: MalformedFile."""
        return dict(self.dynamic or ())

    @cached_property
    def strings(self) -> bytes:
        """The dynamic string table; b"" without one. Raises: MalformedFile."""
        if DT_STRTAB not in self.tags:
            return b""
        start = self.find_offset(self.tags[DT_STRTAB])
        size = self.tags.get(DT_STRSZ, 0)
        return self.read(start, size)

    def read_string(self, offset: int) -> str:
        """One string of the dynamic string table. Raises: MalformedFile."""
        if offset >= len(self.strings):
            raise MalformedFile("its dynamic segment names a string outside of its string table")
        return decode_printable(self.read_name(self.strings, offset))

    def read_name(self, strings: bytes, offset: int, limit: int = MAX_STRING) -> bytes:
        """The string at `offset` of a string table of this file, its first `limit` bytes.

        b"" outside of it.

        Raises: MalformedFile when so many names share their text that they are longer than the file.
        """
        name = read_c_string(strings, offset, limit)
        self._text_budget -= len(name)
        if self._text_budget < 0:
            raise MalformedFile("its names have more text than the file")
        return name


DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ = 1, 4, 5, 6, 10
DT_SONAME, DT_RPATH, DT_RUNPATH = 14, 15, 29
DT_GNU_HASH, DT_DEPAUDIT, DT_AUDIT = 0x6FFFFEF5, 0x6FFFFEFB, 0x6FFFFEFC
DT_AUXILIARY, DT_FILTER = 0x7FFFFFFD, 0x7FFFFFFF
DT_VERSYM, DT_FLAGS_1 = 0x6FFFFFF0, 0x6FFFFFFB
DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF


def read_c_string(strings: bytes, offset: int, limit: int = MAX_STRING) -> bytes:
    """The string at `offset` of a string table, its first `limit` bytes; b"" outside of it."""
    end = strings.find(b"\0", offset, offset + limit)
    return strings[offset:end] if end >= 0 else strings[offset : offset + limit]


def decode_printable(raw: bytes) -> str:
    """A name as text. Raises: MalformedFile when it is not UTF-8 or has control characters."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedFile(f"it has a name that is not UTF-8: {raw[:80]!r}") from error
    if not name.isprintable():
        raise MalformedFile(f"it has a name with control characters: {raw[:80]!r}")
    return name
