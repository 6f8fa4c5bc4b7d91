"""Where the data of a sparse member lies: GNU's old form and its three pax forms.

Source: GNU tar manual, "Storing Sparse Files"; GNU tar 1.35, src/sparse.c; tar(5).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from minbuild.facts.damage import Damage
from minbuild.facts.root.pax import Records

BLOCK = 512
MOST = 1_000_000
"""Stretches of data in one file."""
LARGEST = 1 << 42
"""Bytes of the largest file, holes included."""


class Bytes(Protocol):
    """What a tar's bytes are read from, by place or in their order."""

    def read(self, at: int, count: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Extent:
    """A stretch of data."""

    offset: int
    """In the file."""
    place: int
    """In the archive."""
    size: int


def extents(
    tar: Bytes, block: bytes, letter: str, pax: Records, data: int, stored: int
) -> tuple[int, int, tuple[Extent, ...]]:
    """The size of a file, where its data begins and its stretches.

    `data`, `stored`: where the member's body begins, and its bytes. What is returned as the
    beginning plus `stored` is the body's end. Raises: Damage.
    """
    told = pax.last
    if letter == "S":
        if any(key.startswith(b"GNU.sparse.") for key in told):
            raise Damage("a file is sparse in two ways")
        rows, data = _old(tar, block, data)
        return _checked(rows, _field(block[483:495]), data, stored, data)
    if told.get(b"GNU.sparse.major") == b"1":
        rows, begin = _newest(tar, data, stored)
        whole = _told(told.get(b"GNU.sparse.realsize", b""))
        return _checked(rows, whole, begin, stored - (begin - data), data)
    size = told.get(b"GNU.sparse.size", b"")
    if b"GNU.sparse.map" in told:
        words = [_told(word) for word in told[b"GNU.sparse.map"].split(b",") if word]
        return _checked(_pairs(words), _told(size), data, stored, data)
    if size:
        numbers = [
            _told(value)
            for key, value in pax.rows
            if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        ]
        return _checked(_pairs(numbers), _told(size), data, stored, data)
    if any(key.startswith(b"GNU.sparse.m") for key in told):
        raise Damage("a file is sparse in an unknown way")
    return stored, data, (Extent(0, data, stored),) if stored else ()


def _old(tar: Bytes, block: bytes, data: int) -> tuple[list[tuple[int, int]], int]:
    """Four stretches in the header, and 21 in each block that follows while the last one says so."""
    rows = list(_fields(block[386:482]))
    more = block[482]
    while more:
        extension = tar.read(data, BLOCK)
        rows += _fields(extension[:504])
        more, data = extension[504], data + BLOCK
        if len(rows) > MOST:
            raise _too_many()
    return rows, data


def _newest(tar: Bytes, data: int, stored: int) -> tuple[list[tuple[int, int]], int]:
    """Numbers, one a line, before the data: how many stretches, then offset and size of each."""
    at, end, text = data, data + stored, b""

    def line() -> int:
        nonlocal at, text
        while b"\n" not in text:
            if at >= end or len(text) > 20:
                raise Damage("a sparse file's map is not whole")
            text += tar.read(at, BLOCK)
            at += BLOCK
        found, _, text = text.partition(b"\n")
        return _told(found)

    count = line()
    if count > MOST:
        raise _too_many()
    return [(line(), line()) for _ in range(count)], at


def _checked(
    rows: Sequence[tuple[int, int]], size: int, begin: int, stored: int, data: int
) -> tuple[int, int, tuple[Extent, ...]]:
    if size > LARGEST:
        raise Damage(f"a sparse file has {size} bytes, the limit is {LARGEST}")
    if len(rows) > MOST:
        raise _too_many()
    found, place, before = [], begin, 0
    for offset, length in rows:
        if offset < before or offset + length > size:
            raise Damage("a sparse file's stretches overlap or end behind it")
        if length and (place - begin) % BLOCK:
            raise Damage("a sparse file's stretches are no whole blocks: readers differ about that")
        if length:
            found.append(Extent(offset, place, length))
        place, before = place + length, offset + length
    if place - begin != stored:
        raise Damage("a sparse file's stretches are not all of its data")
    return size, data, tuple(found)


def _pairs(words: Sequence[int]) -> list[tuple[int, int]]:
    if len(words) % 2:
        raise Damage("a sparse file's map is not whole")
    return list(zip(words[::2], words[1::2], strict=True))


def _fields(data: bytes) -> Iterator[tuple[int, int]]:
    """Stretches of 24 bytes; an empty one ends them."""
    for at in range(0, len(data) - 23, 24):
        if not data[at + 12]:
            return
        yield _field(data[at : at + 12]), _field(data[at + 12 : at + 24])


def _field(field: bytes) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise Damage(f"a sparse file's map has what is no number: {field!r}") from error


def _told(word: bytes) -> int:
    if not word.isdigit() or len(word) > 19:
        raise Damage(f"a sparse file's map has what is no number: {word[:40]!r}")
    return int(word)


def _too_many() -> Damage:
    return Damage(f"a sparse file has more than {MOST} stretches, the limit")
