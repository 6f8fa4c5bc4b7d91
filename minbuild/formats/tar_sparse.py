"""Extents of a sparse file in a tar: GNU's old form and the three forms of pax.

Source: GNU tar manual, "Storing Sparse Files"; GNU tar 1.35, src/sparse.c; tar(5).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from minbuild.errors import MalformedFile
from minbuild.formats.tar_header import PaxRecords

BLOCK = 512
MAX_STRETCHES = 1_000_000
"""Stretches of data in one file."""
MAX_FILE_SIZE = 1 << 42
"""Bytes of the largest file, holes included."""


class ByteSource(Protocol):
    """What a tar's bytes are read from, by place or in their order."""

    def read(self, offset: int, count: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Extent:
    """A stretch of data."""

    offset: int
    """In the file."""
    archive_offset: int
    """In the archive."""
    size: int


def read_extents(
    tar: ByteSource, block: bytes, letter: str, pax: PaxRecords, data: int, body_size: int
) -> tuple[int, int, tuple[Extent, ...]]:
    """The size of a file, where its data begins and its stretches.

    `data`, `stored`: where the member's body begins, and its bytes. What is returned as the
    beginning plus `stored` is the body's end. Raises: MalformedFile.
    """
    pax_values = pax.by_key
    if letter == "S":
        if any(key.startswith(b"GNU.sparse.") for key in pax_values):
            raise MalformedFile("a file is sparse in two ways")
        rows, data = _read_header_map(tar, block, data)
        return _check_extents(rows, _parse_field(block[483:495]), data, body_size, data)
    if pax_values.get(b"GNU.sparse.major") == b"1":
        rows, begin = _read_inline_map(tar, data, body_size)
        real_size = _parse_decimal(pax_values.get(b"GNU.sparse.realsize", b""))
        return _check_extents(rows, real_size, begin, body_size - (begin - data), data)
    size = pax_values.get(b"GNU.sparse.size", b"")
    if b"GNU.sparse.map" in pax_values:
        map_numbers = [
            _parse_decimal(word) for word in pax_values[b"GNU.sparse.map"].split(b",") if word
        ]
        return _check_extents(_pair_up(map_numbers), _parse_decimal(size), data, body_size, data)
    if size:
        numbers = [
            _parse_decimal(value)
            for key, value in pax.rows
            if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        ]
        return _check_extents(_pair_up(numbers), _parse_decimal(size), data, body_size, data)
    if any(key.startswith(b"GNU.sparse.m") for key in pax_values):
        raise MalformedFile("a file is sparse in an unknown way")
    return body_size, data, (Extent(0, data, body_size),) if body_size else ()


def _read_header_map(tar: ByteSource, block: bytes, data: int) -> tuple[list[tuple[int, int]], int]:
    """Four stretches in the header, and 21 in each block that follows while the last one says so."""
    rows = list(_parse_fields(block[386:482]))
    has_more = block[482]
    while has_more:
        extension = tar.read(data, BLOCK)
        rows += _parse_fields(extension[:504])
        has_more, data = extension[504], data + BLOCK
        if len(rows) > MAX_STRETCHES:
            raise _too_many_error()
    return rows, data


def _read_inline_map(
    tar: ByteSource, data: int, body_size: int
) -> tuple[list[tuple[int, int]], int]:
    """Numbers, one a line, before the data: how many stretches, then offset and size of each."""
    position, end, text = data, data + body_size, b""

    def read_line() -> int:
        nonlocal position, text
        while b"\n" not in text:
            if position >= end or len(text) > 20:
                raise MalformedFile("a sparse file's map is not whole")
            text += tar.read(position, BLOCK)
            position += BLOCK
        digits, _, text = text.partition(b"\n")
        return _parse_decimal(digits)

    count = read_line()
    if count > MAX_STRETCHES:
        raise _too_many_error()
    return [(read_line(), read_line()) for _ in range(count)], position


def _check_extents(
    rows: Sequence[tuple[int, int]], size: int, data_start: int, body_size: int, data: int
) -> tuple[int, int, tuple[Extent, ...]]:
    if size > MAX_FILE_SIZE:
        raise MalformedFile(f"a sparse file has {size} bytes, the limit is {MAX_FILE_SIZE}")
    if len(rows) > MAX_STRETCHES:
        raise _too_many_error()
    extents, position, previous_end = [], data_start, 0
    for offset, length in rows:
        if offset < previous_end or offset + length > size:
            raise MalformedFile("a sparse file's stretches overlap or end behind it")
        if length and (position - data_start) % BLOCK:
            raise MalformedFile(
                "a sparse file's stretches are no whole blocks: readers differ about that"
            )
        if length:
            extents.append(Extent(offset, position, length))
        position, previous_end = position + length, offset + length
    if position - data_start != body_size:
        raise MalformedFile("a sparse file's stretches are not all of its data")
    return size, data, tuple(extents)


def _pair_up(numbers: Sequence[int]) -> list[tuple[int, int]]:
    if len(numbers) % 2:
        raise MalformedFile("a sparse file's map is not whole")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _parse_fields(data: bytes) -> Iterator[tuple[int, int]]:
    """Stretches of 24 bytes; an empty one ends them."""
    for offset in range(0, len(data) - 23, 24):
        if not data[offset + 12]:
            return
        yield (
            _parse_field(data[offset : offset + 12]),
            _parse_field(data[offset + 12 : offset + 24]),
        )


def _parse_field(field: bytes) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise MalformedFile(f"a sparse file's map has what is no number: {field!r}") from error


def _parse_decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 19:
        raise MalformedFile(f"a sparse file's map has what is no number: {digits[:40]!r}")
    return int(digits)


def _too_many_error() -> MalformedFile:
    return MalformedFile(f"a sparse file has more than {MAX_STRETCHES} stretches, the limit")
