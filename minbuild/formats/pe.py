"""Sections of a PE file, as firmware loads them, read from untrusted bytes.

Source: Microsoft PE Format; UEFI 2.10, 2.1.1; EDK II, BasePeCoffLib.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from minbuild.errors import ToolError
from minbuild.formats import magic

FIX = "make the image again with what made it"
MAX_SECTIONS = 96
"""Sections that are looked at; a UKI has about 15."""
PE32_PLUS, PE32 = 0x20B, 0x10B
"""Magic numbers of the header: of 64 bits, of 32."""


@dataclass(frozen=True, slots=True)
class PeSection:
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
class _PeHeader:
    table: int
    count: int
    extent: int
    """Bytes of all headers."""
    memory: int
    """Bytes of the image in memory; 0 where the header is of no kind that says it."""
    signature: tuple[int, int]
    """Where the signatures stand, and their bytes."""


def read_sections(data: bytes, where: str) -> tuple[PeSection, ...]:
    """Split a PE file into its sections, in the order of its table.

    Raises: ToolError when it is none, is damaged, or when two of its sections share bytes.
    """
    header = _read_header(data, where)
    sections = tuple(_iter_sections(data, header, where))
    _require_disjoint(
        [(one.start, one.start + one.stored, one.name) for one in sections], "in the file", where
    )
    return sections


def read_machine(data: bytes, where: str) -> int:
    """The number of the machine that a PE file is for. Source: PE Format, "Machine Types"."""
    _read_header(data, where)
    (offset,) = struct.unpack_from("<I", data, 0x3C)
    return int(struct.unpack_from("<H", data, offset + 4)[0])


def read_section_names(head: bytes, where: str) -> tuple[str, ...]:
    """The names of a PE file's sections, of which `head` holds the table.

    Raises: ToolError when it is no PE file.
    """
    header = _read_header(head, where)
    return tuple(_decode_name(row[0]) for row in _iter_rows(head, header, where))


def require_known_bytes(data: bytes, sections: Iterable[PeSection], where: str) -> None:
    """Accept an image all of whose bytes are known: firmware, stub and tools see the same in it.

    Raises: ToolError when sections lie on each other in memory, reach out of it, or when bytes
    stand in the file that no section, header or signature holds.
    """
    header = _read_header(data, where)
    if header.memory:  # of an image without memory no firmware starts anything
        if header.table + 40 * header.count > header.extent:
            raise _make_pe_error("its headers do not hold its table of sections", where)
        spans = [(0, header.extent, "the headers")]
        spans += [(one.address, one.address + one.size, one.name) for one in sections]
        _require_disjoint(spans, "in memory", where)
        if any(end > header.memory for _, end, _ in spans):
            raise _make_pe_error(
                "a section lies outside of the memory that the image asks for", where
            )
    at, size = header.signature
    known_spans = [(0, header.extent), (at, at + size)]
    known_spans += [(one.start, one.start + len(one.data)) for one in sections]
    end = 0
    for start, stop in sorted((*known_spans, (len(data), len(data)))):
        if start > end and data.count(0, end, start) != start - end:
            raise _make_pe_error(
                f"{start - end:,} bytes from byte {end:,} on are of no section, header or signature",
                where,
            )
        end = max(end, stop)


def _read_header(data: bytes, where: str) -> _PeHeader:
    try:
        if data[:2] != magic.PE:
            raise _make_pe_error("it has no MZ header", where)
        (offset,) = struct.unpack_from("<I", data, 0x3C)
        pe_magic, count, optional = struct.unpack_from("<4s2xH12xH", data, offset)
        if pe_magic != b"PE\0\0" or count > MAX_SECTIONS:
            raise _make_pe_error("it has no PE header", where)
        optional_start = offset + 24
        table = optional_start + optional
        (kind,) = struct.unpack_from("<H", data, optional_start) if optional > 1 else (0,)
        memory, extent = 0, table + 40 * count
        signature = (0, 0)
        if kind in (PE32_PLUS, PE32) and optional >= 64:
            memory, extent = struct.unpack_from("<II", data, optional_start + 56)
            directories = 112 if kind == PE32_PLUS else 96
            if optional >= directories + 40:
                signature = struct.unpack_from("<II", data, optional_start + directories + 32)
    except struct.error as error:
        raise ToolError("the UKI is cut short", where=where, fix=FIX) from error
    if not memory:
        extent = max(extent, table + 40 * count)
    return _PeHeader(table, count, extent, memory, signature)


def _iter_sections(data: bytes, header: _PeHeader, where: str) -> Iterator[PeSection]:
    for name, size, address, stored, start in _iter_rows(data, header, where):
        text = _decode_name(name)
        if start + stored > len(data):
            raise ToolError(f"the UKI is cut short in section {text}", where=where, fix=FIX)
        yield PeSection(
            text, bytes(data[start : start + min(size, stored)]), start, stored, address, size
        )


def _iter_rows(
    data: bytes, header: _PeHeader, where: str
) -> Iterator[tuple[bytes, int, int, int, int]]:
    for number in range(header.count):
        try:
            yield struct.unpack_from("<8sIIII", data, header.table + 40 * number)
        except struct.error as error:
            raise ToolError("the UKI is cut short", where=where, fix=FIX) from error


def _decode_name(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("ascii", "backslashreplace")


def _require_disjoint(spans: Iterable[tuple[int, int, str]], space: str, where: str) -> None:
    previous = (0, 0, "")
    for span in sorted(span for span in spans if span[1] > span[0]):
        if span[0] < previous[1]:
            raise _make_pe_error(f"{previous[2]} and {span[2]} lie on each other {space}", where)
        previous = span


def _make_pe_error(problem: str, where: str) -> ToolError:
    return ToolError(f"this is not a UKI that can be read: {problem}", where=where, fix=FIX)
