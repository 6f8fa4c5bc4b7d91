"""How xz, zstd, gzip, bzip2 and lzma streams are unpacked with bounded memory."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from minbuild.facts.damage import Damage

PIECE = 1 << 18
"""Bytes that are read and unpacked at a time."""
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


def unpacked(read: Read, ending: str) -> Iterator[bytes]:
    """Yield the content of a stream in pieces; `ending` is ".xz", ".zst", ".gz", ".bz2", ".lzma" or "".

    Raises: Damage when the stream is damaged, truncated or of an unknown kind.
    """
    match ending:
        case "":
            return iter(lambda: read(PIECE), b"")
        case ".xz":
            return _pieces(read, _xz, "xz")
        case ".gz":
            return _pieces(read, _Gzip, "gzip")
        case ".bz2":
            return _pieces(read, bz2.BZ2Decompressor, "bzip2")
        case ".lzma":
            return _pieces(read, _lzma, "lzma")
        case ".zst":
            return _zstd(read)
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


def _pieces(read: Read, new: Callable[[], _Decompressor], kind: str) -> Iterator[bytes]:
    """Unpack one stream or several behind one another."""
    opened = new()
    fresh = True
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
        try:
            piece = opened.decompress(data, PIECE)
        except (lzma.LZMAError, zlib.error, OSError, MemoryError) as error:
            raise Damage(f"its {kind} stream is damaged: {error}") from error
        data, fresh = b"", False
        if piece:
            yield piece
    if not fresh:
        raise Damage(f"its {kind} stream is truncated")


def _zstd(read: Read) -> Iterator[bytes]:
    import zstandard

    class Source:
        def read(self, size: int = -1) -> bytes:
            return read(size)

    limited = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    try:
        with limited.stream_reader(Source(), read_size=PIECE, read_across_frames=True) as reader:  # type: ignore[arg-type]
            while piece := reader.read(PIECE):
                yield piece
    except (zstandard.ZstdError, MemoryError) as error:
        raise Damage(f"its zstd stream is damaged: {error}") from error
