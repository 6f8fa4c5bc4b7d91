"""Decompression of xz, zstd, gzip, bzip2 and lzma streams with bounded memory."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import zstandard

from minbuild.errors import ArchiveError, MalformedFile

MAX_INDEX_SIZE = 256 << 20
"""Bytes of an unpacked index, whatever its Release says: Debian's largest have 60 MB."""
INDEX_MEMORY_LIMIT = 160 << 20
"""Bytes that a decompressor may use: twice what xz -9 takes."""
MAX_MEMBERS = 10_000
"""Streams one after the other in one index."""


class _MemberDecompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, limit: int, /) -> bytes: ...


_INDEX_DECOMPRESSORS: dict[str, Callable[[], _MemberDecompressor]] = {
    ".xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=INDEX_MEMORY_LIMIT),
    ".gz": lambda: zlib.decompressobj(wbits=31),
    ".bz2": bz2.BZ2Decompressor,
}
INDEX_ENDINGS = (*_INDEX_DECOMPRESSORS, "")
"""Compressions that are read, the best one first."""


def decompress_index(data: bytes, path: str, label: str, *, size: int = -1) -> bytes:
    """Unpack an index; `path` ends as its compression does, `size` is what its Release says.

    Source: xz(1), gzip(1), bzip2(1): several files that are compressed one after the other are
    one; zeros may follow.

    Raises: ArchiveError for one that is damaged, cut off, too large, or of another size.
    """
    ending = path.rpartition("/")[2].rpartition(".")[2]
    limit = min(size, MAX_INDEX_SIZE) if size >= 0 else MAX_INDEX_SIZE
    try:
        text = (
            _decompress_members(data, _INDEX_DECOMPRESSORS[f".{ending}"], limit)
            if f".{ending}" in _INDEX_DECOMPRESSORS
            else data
        )
    except (lzma.LZMAError, zlib.error, OSError, EOFError, MemoryError, ValueError) as error:
        raise _index_error(f"{label} cannot be unpacked: {error}", path) from error
    if len(text) > limit:
        raise _index_error(f"{label} unpacks to more than {limit} bytes", path)
    if 0 <= size != len(text):
        raise _index_error(f"{label} unpacks to {len(text)} bytes; its Release says {size}", path)
    return text


def _decompress_members(
    data: bytes, make_decompressor: Callable[[], _MemberDecompressor], limit: int
) -> bytes:
    """Every member, up to one byte more than the limit. Raises: EOFError, ValueError."""
    pieces: list[bytes] = []
    remaining = limit + 1
    for _ in range(MAX_MEMBERS):
        member = make_decompressor()
        piece = member.decompress(data, max(remaining, 1))
        pieces.append(piece)
        remaining -= len(piece)
        if remaining <= 0:
            return b"".join(pieces)
        if not member.eof:
            raise EOFError("it is cut off")
        data = member.unused_data
        if not data.strip(b"\0"):
            return b"".join(pieces)
        data = data.lstrip(b"\0")
    raise ValueError(f"it has more than {MAX_MEMBERS} members")


def _index_error(message: str, path: str) -> ArchiveError:
    return ArchiveError(message, where=path, fix="use another mirror (--mirror URL)")


CHUNK_SIZE = 1 << 18
"""Bytes that are read and unpacked at a time."""
_ZSTD_CHUNK_SIZE = 1 << 11
MEMORY_LIMIT = 160 << 20
"""Most bytes that a decompressor may use: twice what xz -9 takes."""

ReadBytes = Callable[[int], bytes]
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
        self._stream = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


def decompress_stream(
    read: ReadBytes, ending: str, *, single: bool = False, piece_size: int = CHUNK_SIZE
) -> Iterator[bytes]:
    """Yield the content of a stream in pieces; `ending` is ".xz", ".zst", ".gz", ".bz2", ".lzma" or "".

    `piece_size`: bytes of the largest piece, of xz and of what is not compressed.
    Several streams one after the other are one content; with `single` a second one is refused,
    unless it is of gzip: dpkg reads the others' first stream alone, and other readers all of them.
    Raises: MalformedFile when the stream is damaged, truncated or of an unknown kind.
    """
    match ending:
        case "":
            return iter(lambda: read(piece_size), b"")
        case ".xz":
            return _decompress_streams(read, _open_xz, "xz", single=single, piece_size=piece_size)
        case ".gz":
            return _decompress_streams(read, _Gzip, "gzip")
        case ".bz2":
            return _decompress_streams(read, bz2.BZ2Decompressor, "bzip2", single=single)
        case ".lzma":
            return _decompress_streams(read, _open_lzma, "lzma", single=single)
        case ".zst":
            return _decompress_zstd(read, single=single)
        case _:
            raise MalformedFile(f"it is compressed in a way that is not known: {ending}")


def decompress(data: bytes, ending: str, limit: int) -> bytes:
    """Unpack `data`; `ending` as in `unpacked`, `limit` the most bytes that may come out.

    Raises: MalformedFile.
    """
    if not ending:
        return data
    if ending == ".xz" and (quick := _decompress_xz(data, limit)) is not None:
        return quick
    view = memoryview(data)
    offset = 0

    def read(size: int) -> bytes:
        nonlocal offset
        piece = bytes(view[offset : offset + size])
        offset += len(piece)
        return piece

    pieces: list[bytes] = []
    total = 0
    for piece in decompress_stream(read, ending):
        total += len(piece)
        if total > limit:
            raise MalformedFile(f"it unpacks to more than {limit} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _decompress_xz(data: bytes, limit: int) -> bytes | None:
    """Unpack one xz stream at once, which is twice as fast; None when it is more than that."""
    decompressor = _open_xz()
    try:
        content = decompressor.decompress(data, limit)
    except (lzma.LZMAError, MemoryError) as error:
        raise MalformedFile(f"its xz stream is damaged: {error}") from error
    return content if decompressor.eof and not decompressor.unused_data else None


def _open_xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT)


def _open_lzma() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY_LIMIT)


def _decompress_streams(
    read: ReadBytes,
    make_decompressor: Callable[[], _Decompressor],
    kind: str,
    *,
    single: bool = False,
    piece_size: int = CHUNK_SIZE,
) -> Iterator[bytes]:
    """Unpack one stream or several behind one another."""
    decompressor = make_decompressor()
    fresh, has_begun = True, False
    data = b""
    while True:
        if decompressor.eof:
            data = decompressor.unused_data.lstrip(b"\0")
            decompressor, fresh = make_decompressor(), True
        if not data and (fresh or decompressor.needs_input):
            data = read(CHUNK_SIZE)
            if fresh:
                data = data.lstrip(b"\0") if kind == "xz" else data
            if not data:
                break
        if fresh and has_begun and single:
            raise _second_stream_error(kind)
        has_begun = True
        try:
            piece = decompressor.decompress(data, piece_size)
        except (lzma.LZMAError, zlib.error, OSError, MemoryError) as error:
            raise MalformedFile(f"its {kind} stream is damaged: {error}") from error
        data, fresh = b"", False
        if piece:
            yield piece
    if not fresh:
        raise MalformedFile(f"its {kind} stream is truncated")


def _decompress_zstd(read: ReadBytes, *, single: bool = False) -> Iterator[bytes]:
    """Unpack frames of zstd, a few kilobytes at a time: four bytes may become 128 KiB."""

    factory = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    decompressor = factory.decompressobj()
    fresh, has_begun = True, False
    data = b""
    try:
        while data or (data := read(CHUNK_SIZE)):
            if fresh and has_begun and single:
                raise _second_stream_error("zstd")
            for offset in range(0, len(data), _ZSTD_CHUNK_SIZE):
                if piece := decompressor.decompress(data[offset : offset + _ZSTD_CHUNK_SIZE]):
                    yield piece
                if decompressor.eof:
                    break
            fresh, has_begun = decompressor.eof, True
            data = (
                decompressor.unused_data + data[offset + _ZSTD_CHUNK_SIZE :]
                if decompressor.eof
                else b""
            )
            if decompressor.eof:
                decompressor = factory.decompressobj()
    except (zstandard.ZstdError, MemoryError) as error:
        raise MalformedFile(f"its zstd stream is damaged: {error}") from error
    if not fresh:
        raise MalformedFile("its zstd stream is truncated")


def _second_stream_error(kind: str) -> MalformedFile:
    return MalformedFile(f"it has a second {kind} stream: readers differ about what belongs to it")
