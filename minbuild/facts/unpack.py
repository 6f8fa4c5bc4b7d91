"""How xz, zstd, gzip, bzip2 and lzma streams are unpacked with bounded memory."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from minbuild.facts.damage import Damage

PIECE = 1 << 18
"""Bytes that are read and unpacked at a time."""
_ZSTD_PIECE = 1 << 11
MEMORY = 160 << 20
"""Most bytes that a decompressor may use: twice what xz -9 takes."""

Read = Callable[[int], bytes]
"""Reads at most that many bytes; b"" at the end."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class _Gzip:
    """zlib with the face of lzma."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def unpacked(read: Read, ending: str, *, single: bool = False) -> Iterator[bytes]:
    """Yield the content of a stream in pieces; `ending` is ".xz", ".zst", ".gz", ".bz2", ".lzma" or "".

    Several streams one after the other are one content; with `single` a second one is refused,
    unless it is of gzip: dpkg reads the others' first stream alone, and other readers all of them.
    Raises: Damage when the stream is damaged, truncated or of an unknown kind.
    """
    match ending:
        case "":
            return iter(lambda: read(PIECE), b"")
        case ".xz":
            return _pieces(read, _xz, "xz", single=single)
        case ".gz":
            return _pieces(read, _Gzip, "gzip")
        case ".bz2":
            return _pieces(read, bz2.BZ2Decompressor, "bzip2", single=single)
        case ".lzma":
            return _pieces(read, _lzma, "lzma", single=single)
        case ".zst":
            return _zstd(read, single=single)
        case _:
            raise Damage(f"it is compressed in a way that is not known: {ending}")


def whole(data: bytes, ending: str, limit: int) -> bytes:
    """Unpack `data`; `ending` as in `unpacked`, `limit` the most bytes that may come out.

    Raises: Damage.
    """
    if not ending:
        return data
    if ending == ".xz" and (quick := _whole_xz(data, limit)) is not None:
        return quick
    view = memoryview(data)
    place = 0

    def read(size: int) -> bytes:
        nonlocal place
        piece = bytes(view[place : place + size])
        place += len(piece)
        return piece

    pieces: list[bytes] = []
    total = 0
    for piece in unpacked(read, ending):
        total += len(piece)
        if total > limit:
            raise Damage(f"it unpacks to more than {limit} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _whole_xz(data: bytes, limit: int) -> bytes | None:
    """Unpack one xz stream at once, which is twice as fast; None when it is more than that."""
    opened = _xz()
    try:
        found = opened.decompress(data, limit)
    except (lzma.LZMAError, MemoryError) as error:
        raise Damage(f"its xz stream is damaged: {error}") from error
    return found if opened.eof and not opened.unused_data else None


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)


def _lzma() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY)


def _pieces(
    read: Read, new: Callable[[], _Decompressor], kind: str, *, single: bool = False
) -> Iterator[bytes]:
    """Unpack one stream or several behind one another."""
    opened = new()
    fresh, begun = True, False
    data = b""
    while True:
        if opened.eof:
            data = opened.unused_data.lstrip(b"\0")
            opened, fresh = new(), True
        if not data and (fresh or opened.needs_input):
            data = read(PIECE)
            if fresh:
                data = data.lstrip(b"\0") if kind == "xz" else data
            if not data:
                break
        if fresh and begun and single:
            raise _second(kind)
        begun = True
        try:
            piece = opened.decompress(data, PIECE)
        except (lzma.LZMAError, zlib.error, OSError, MemoryError) as error:
            raise Damage(f"its {kind} stream is damaged: {error}") from error
        data, fresh = b"", False
        if piece:
            yield piece
    if not fresh:
        raise Damage(f"its {kind} stream is truncated")


def _zstd(read: Read, *, single: bool = False) -> Iterator[bytes]:
    """Unpack frames of zstd, a few kilobytes at a time: four bytes may become 128 KiB."""
    import zstandard

    limited = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    opened = limited.decompressobj()
    fresh, begun = True, False
    data = b""
    try:
        while data or (data := read(PIECE)):
            if fresh and begun and single:
                raise _second("zstd")
            for at in range(0, len(data), _ZSTD_PIECE):
                if piece := opened.decompress(data[at : at + _ZSTD_PIECE]):
                    yield piece
                if opened.eof:
                    break
            fresh, begun = opened.eof, True
            data = opened.unused_data + data[at + _ZSTD_PIECE :] if opened.eof else b""
            if opened.eof:
                opened = limited.decompressobj()
    except (zstandard.ZstdError, MemoryError) as error:
        raise Damage(f"its zstd stream is damaged: {error}") from error
    if not fresh:
        raise Damage("its zstd stream is truncated")


def _second(kind: str) -> Damage:
    return Damage(f"it has a second {kind} stream: readers differ about what belongs to it")
