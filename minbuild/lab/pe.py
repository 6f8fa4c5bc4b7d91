"""The sections of a PE file, as firmware lays them out, read from a file that nobody vouches for.

Source: Microsoft PE Format; UEFI 2.10, 2.1.1; EDK II, BasePeCoffLib.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from minbuild.errors import ToolError

FIX = "make the image again with what made it"
MOST = 96
"""Sections that are looked at; a UKI has about 15."""
PLUS, PLAIN = 0x20B, 0x10B
"""Magic numbers of the header: of 64 bits, of 32."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section."""

    name: str
    data: bytes
    """What firmware takes of the file into memory."""
    start: int
    """Where it stands in the file."""
    stored: int
    """Bytes there, with those that are not taken."""
    address: int
    """Where it lies in memory."""
    size: int
    """Bytes there: after the data come zeros."""


@dataclass(frozen=True, slots=True)
class _Header:
    table: int
    count: int
    extent: int
    """Bytes of all headers."""
    memory: int
    """Bytes of the image in memory; 0 where the header is of no kind that says it."""
    signature: tuple[int, int]
    """Where the signatures stand, and their bytes."""


def read_sections(data: bytes, where: str) -> tuple[Section, ...]:
    """Split a PE file into its sections, in the order of its table.

    Raises: ToolError when it is none, is damaged, or when two of its sections share bytes.
    """
    header = _header(data, where)
    found = tuple(_sections(data, header, where))
    _apart([(one.start, one.start + one.stored, one.name) for one in found], "in the file", where)
    return found


def machine(data: bytes, where: str) -> int:
    """The number of the machine that a PE file is for. Source: PE Format, "Machine Types"."""
    _header(data, where)
    (offset,) = struct.unpack_from("<I", data, 0x3C)
    return int(struct.unpack_from("<H", data, offset + 4)[0])


def names(head: bytes, where: str) -> tuple[str, ...]:
    """The names of a PE file's sections, of which `head` holds the table.

    Raises: ToolError when it is no PE file.
    """
    header = _header(head, where)
    return tuple(_name(row[0]) for row in _rows(head, header, where))


def require_plain(data: bytes, found: Iterable[Section], where: str) -> None:
    """Accept an image all of whose bytes are known: firmware, stub and tools see the same in it.

    Raises: ToolError when sections lie on each other in memory, reach out of it, or when bytes
    stand in the file that no section, header or signature holds.
    """
    header = _header(data, where)
    if header.memory:  # of an image without memory no firmware starts anything
        if header.table + 40 * header.count > header.extent:
            raise _refused("its headers do not hold its table of sections", where)
        spans = [(0, header.extent, "the headers")]
        spans += [(one.address, one.address + one.size, one.name) for one in found]
        _apart(spans, "in memory", where)
        if any(end > header.memory for _, end, _ in spans):
            raise _refused("a section lies outside of the memory that the image asks for", where)
    at, size = header.signature
    held = [(0, header.extent), (at, at + size)]
    held += [(one.start, one.start + len(one.data)) for one in found]
    end = 0
    for start, stop in sorted((*held, (len(data), len(data)))):
        if start > end and data.count(0, end, start) != start - end:
            raise _refused(
                f"{start - end:,} bytes from byte {end:,} on are of no section, header or signature",
                where,
            )
        end = max(end, stop)


def _header(data: bytes, where: str) -> _Header:
    try:
        if data[:2] != b"MZ":
            raise _refused("it has no MZ header", where)
        (offset,) = struct.unpack_from("<I", data, 0x3C)
        magic, count, optional = struct.unpack_from("<4s2xH12xH", data, offset)
        if magic != b"PE\0\0" or count > MOST:
            raise _refused("it has no PE header", where)
        begin = offset + 24
        table = begin + optional
        (kind,) = struct.unpack_from("<H", data, begin) if optional > 1 else (0,)
        memory, extent = 0, table + 40 * count
        signature = (0, 0)
        if kind in (PLUS, PLAIN) and optional >= 64:
            memory, extent = struct.unpack_from("<II", data, begin + 56)
            directories = 112 if kind == PLUS else 96
            if optional >= directories + 40:
                signature = struct.unpack_from("<II", data, begin + directories + 32)
    except struct.error as error:
        raise ToolError("the UKI is cut short", where=where, fix=FIX) from error
    if not memory:
        extent = max(extent, table + 40 * count)
    return _Header(table, count, extent, memory, signature)


def _sections(data: bytes, header: _Header, where: str) -> Iterator[Section]:
    for name, size, address, stored, start in _rows(data, header, where):
        text = _name(name)
        if start + stored > len(data):
            raise ToolError(f"the UKI is cut short in section {text}", where=where, fix=FIX)
        yield Section(
            text, bytes(data[start : start + min(size, stored)]), start, stored, address, size
        )


def _rows(data: bytes, header: _Header, where: str) -> Iterator[tuple[bytes, int, int, int, int]]:
    for number in range(header.count):
        try:
            yield struct.unpack_from("<8sIIII", data, header.table + 40 * number)
        except struct.error as error:
            raise ToolError("the UKI is cut short", where=where, fix=FIX) from error


def _name(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("ascii", "backslashreplace")


def _apart(spans: Iterable[tuple[int, int, str]], place: str, where: str) -> None:
    before = (0, 0, "")
    for span in sorted(span for span in spans if span[1] > span[0]):
        if span[0] < before[1]:
            raise _refused(f"{before[2]} and {span[2]} lie on each other {place}", where)
        before = span


def _refused(what: str, where: str) -> ToolError:
    return ToolError(f"this is not a UKI that can be read: {what}", where=where, fix=FIX)
