"""Packages files of a suite, and their compact form: stanzas in compressed blocks, found by name.

block*      stanzas of 64 package names, sorted, one zstd frame with a checksum
provides    lines `PACKAGE: VIRTUAL, VIRTUAL (= VERSION), …`, as in the stanzas, one frame
table       JSON: first name and end of each block, one frame
tail        sizes of provides and table, and the number of packages
"""

import bisect
import contextlib
import json
import mmap
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import zstandard

from minbuild.archive.download import DownloadSpec
from minbuild.archive.mirror import Mirror, is_local
from minbuild.cache.records import RecordKind
from minbuild.cache.store import CacheCorrupted, Store
from minbuild.errors import ArchiveError
from minbuild.formats.compression import decompress_index

MAX_PACKAGES = 1_000_000
"""Stanzas of one index; Debian's largest have 70,000."""
MAX_LINES = 12_000_000
"""Lines of one index; Debian's largest have 2 million."""
MAX_STANZA_SIZE = 256 << 10
"""Bytes of one stanza; those of real packages stay below 40,000."""
_FIELD_VALUE = re.compile(rb"[^\n]*(?:\n[ \t][^\n]*)*+")
"""A field's value with its continued lines. Source: deb822(5)."""
_PROVIDED_END = re.compile(rb"(?::\w+)?[ \t]*+(?:\([^(),\n]*\))?[ \t]*+(?=[,\n])")
"""What follows the name of a virtual package that is provided. Source: Debian Policy 7.1, 7.5."""
_NAMES_PER_BLOCK = 64
_TAIL = struct.Struct("<III")
_LEVEL = 1


class IndexDamaged(Exception):
    """The compact form is corrupt and must be encoded again."""


def encode_index(packages: bytes) -> bytes:
    """Encode the compact form of a Packages file.

    Raises: ArchiveError for more packages, lines or bytes of one package than plausible.
    """
    if packages.count(b"\n") > MAX_LINES:
        raise _oversize_error(f"more than {MAX_LINES} lines")
    stanzas = packages.split(b"\n\n")
    if len(stanzas) > MAX_PACKAGES:
        raise _oversize_error(f"more than {MAX_PACKAGES} packages")
    if max(map(len, stanzas)) > MAX_STANZA_SIZE:
        raise _oversize_error(f"an entry has more than {MAX_STANZA_SIZE} bytes")
    sorted_stanzas = sorted(
        _move_name_first(stanza.strip(b"\n")) for stanza in stanzas if b"Package: " in stanza
    )
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    out = bytearray()
    firsts: list[str] = []
    ends: list[int] = []
    for block in _group_into_blocks(sorted_stanzas):
        firsts.append(_stanza_name(block[0]).decode())
        out += compressor.compress(b"\n\n".join(block) + b"\n")
        ends.append(len(out))
    provides = compressor.compress(_encode_provides(sorted_stanzas))
    table = compressor.compress(json.dumps([firsts, ends]).encode())
    return (
        bytes(out) + provides + table + _TAIL.pack(len(provides), len(table), len(sorted_stanzas))
    )


class PackageIndexFile:
    """The compact form of a Packages file, read block by block."""

    def __init__(self, data: memoryview) -> None:
        """Open it from its bytes (mapped or read).

        Raises: IndexDamaged.
        """
        self._data = data
        self._decompressor = zstandard.ZstdDecompressor()
        self._blocks: dict[int, bytes] = {}
        with _translate_errors():
            provides, table, self.count = _TAIL.unpack(data[-_TAIL.size :])
            end = len(data) - _TAIL.size
            self._provides_range = (end - table - provides, end - table)
            self._firsts, self._ends = json.loads(self._read_frame(end - table, end))
        self._provides: bytes | None = None

    def find_stanzas(self, name: str) -> list[str]:
        """Return every stanza of the package with this name.

        Raises: IndexDamaged.
        """
        number = bisect.bisect_right(self._firsts, name) - 1
        if number < 0:
            return []
        block = b"\n\n" + self._read_block(number)
        start = f"\n\nPackage: {name}\n".encode()
        stanzas = []
        at = block.find(start)
        while at >= 0:
            end = block.find(b"\n\n", at + 2)
            stanza = block[at + 2 : end if end >= 0 else len(block)]
            stanzas.append(stanza.decode("utf-8", "replace"))
            at = block.find(start, at + 2)
        return stanzas

    def find_providers(self, virtual: str) -> list[str]:
        """Return the packages that provide a virtual package, sorted.

        Raises: IndexDamaged.
        """
        if self._provides is None:
            with _translate_errors():
                self._provides = self._read_frame(*self._provides_range)
        text, word = self._provides, virtual.encode()
        names: set[str] = set()
        at = text.find(word)
        while word and at >= 0:
            if text[at - 1] in b" ,\t" and _PROVIDED_END.match(text, at + len(word)):
                start = text.rfind(b"\n", 0, at) + 1
                names.add(text[start : text.index(b":", start)].decode("utf-8", "replace"))
            at = text.find(word, at + len(word))
        return sorted(names)

    def find_names(self, prefix: str) -> list[str]:
        """Return the package names that start with `prefix`, sorted.

        Raises: IndexDamaged.
        """
        names: dict[str, None] = {}
        number = max(bisect.bisect_left(self._firsts, prefix) - 1, 0)
        while number < len(self._firsts) and self._firsts[number][: len(prefix)] <= prefix:
            text = "\n" + self._read_block(number).decode("utf-8", "replace")
            matches = re.findall(r"\nPackage: (\S+)", text)
            names |= dict.fromkeys(name for name in matches if name.startswith(prefix))
            number += 1
        return list(names)

    def _read_block(self, number: int) -> bytes:
        block = self._blocks.get(number)
        if block is None:
            with _translate_errors():
                start = self._ends[number - 1] if number else 0
                block = self._read_frame(start, self._ends[number])
            self._blocks[number] = block
        return block

    def _read_frame(self, start: int, end: int) -> bytes:
        return self._decompressor.decompress(self._data[start:end])


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (zstandard.ZstdError, struct.error, ValueError, IndexError, TypeError) as error:
        raise IndexDamaged(str(error)) from error


def _oversize_error(reason: str) -> ArchiveError:
    return ArchiveError(
        f"not a plausible package index: {reason}",
        where="Packages",
        fix="use another mirror (--mirror URL)",
    )


def _stanza_name(stanza: bytes) -> bytes:
    return stanza[9:].partition(b"\n")[0]


def _move_name_first(stanza: bytes) -> bytes:
    """Move the field Package to the start, where it usually is."""
    if stanza.startswith(b"Package: "):
        return stanza
    match = re.search(rb"^Package: .*$", stanza, re.MULTILINE)
    if match is None:
        raise ArchiveError(
            "the package index has an entry without a name",
            where=stanza[:80].decode("utf-8", "replace"),
            fix="use another mirror",
        )
    return match[0] + b"\n" + stanza[: match.start()] + stanza[match.end() + 1 :]


def _group_into_blocks(stanzas: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Group stanzas into blocks; stanzas of one name share a block."""
    block: list[bytes] = []
    names = 0
    for _, namesakes in groupby(stanzas, _stanza_name):
        block += namesakes
        names += 1
        if names == _NAMES_PER_BLOCK:
            yield block
            block, names = [], 0
    if block:
        yield block


def _encode_provides(stanzas: Iterable[bytes]) -> bytes:
    """The field Provides of every stanza that has one, a line each, after the package's name."""
    lines = []
    for stanza in stanzas:
        at = stanza.find(b"\nProvides:")
        if at >= 0:
            value = _FIELD_VALUE.match(stanza, at + len(b"\nProvides:"))
            assert value is not None, "it matches the empty string"
            lines.append(_stanza_name(stanza) + b": " + value[0].replace(b"\n", b" "))
    return b"\n".join(lines) + b"\n"


T = TypeVar("T")


@dataclass(slots=True)
class PackagesFile:
    """One Packages file of a suite, such as main/binary-amd64/Packages.xz of trixie."""

    suite: str
    repository: str
    path: str
    """Below dists/SUITE/: main/binary-amd64/Packages.xz."""
    sha256: str
    size: int
    unpacked_size: int
    """Bytes when decompressed; -1 if the Release file does not tell."""
    by_hash: bool
    store: Store
    priority: int = 500
    """Priority of the archive; the highest wins."""
    signer: str = ""
    """See `suite.identify_signer`."""
    _index: PackageIndexFile | None = None

    @property
    def is_cached(self) -> bool:
        """Whether the compact form is in the store."""
        digest = self.store.get(RecordKind.INDEX, self.sha256)
        return digest is not None and self.store.path(digest.decode()) is not None

    def download_spec(self, mirror: Mirror, *, offline: bool) -> DownloadSpec:
        """Return the download of the Packages file; offline, only from local mirrors."""
        directory = self.path.rpartition("/")[0]
        paths = [f"{directory}/by-hash/SHA256/{self.sha256}"] if self.by_hash else []
        return DownloadSpec(
            description=f"the index of {self.suite}",
            mirrors=list_addresses(
                mirror, self.repository, self.suite, [*paths, self.path], offline=offline
            ),
            sha256=self.sha256,
            size=self.size,
            fix="wait until the mirror is in sync, or use another mirror (--mirror URL)",
        )

    def build_index(self) -> None:
        """Encode the compact form of the Packages file in the store.

        Raises: ArchiveError if that file is missing or cannot be decompressed.
        """
        data = self.store.read(self.sha256)
        if data is None:
            raise ArchiveError(
                f"the store lacks the index of {self.suite}",
                where=str(self.store.directory),
                fix="build once without --offline",
            )
        text = decompress_index(
            data, self.path, f"the index of {self.suite}", size=self.unpacked_size
        )
        digest = self.store.add(encode_index(text))
        self.store.put(RecordKind.INDEX, {self.sha256: digest.encode()})

    def query(self, reader: Callable[[PackageIndexFile], T]) -> T:
        """Query the compact form; if it is corrupt, encode it again, once.

        Raises: ArchiveError; CacheCorrupted if the Packages file is corrupt, too.
        """
        try:
            return reader(self._open_index())
        except IndexDamaged:
            self._index = None
            if digest := self.store.get(RecordKind.INDEX, self.sha256):
                self.store.discard(digest.decode())
            if self.store.find_verified(self.sha256) is None:
                raise CacheCorrupted(
                    f"the stored index of {self.suite} was corrupt and has been removed",
                    where=str(self.store.directory),
                    fix="run the command again: the index is downloaded again",
                ) from None
            self.build_index()
            return reader(self._open_index())

    def _open_index(self) -> PackageIndexFile:
        if self._index is None:
            digest = self.store.get(RecordKind.INDEX, self.sha256)
            path = self.store.path(digest.decode()) if digest else None
            if path is None:
                raise IndexDamaged("not there")
            with path.open("rb") as file:
                try:
                    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                except ValueError as error:  # an empty file
                    raise IndexDamaged(str(error)) from error
            self._index = PackageIndexFile(memoryview(data))
        return self._index


def list_addresses(
    mirror: Mirror, repository: str, suite: str, paths: Sequence[str], *, offline: bool
) -> tuple[tuple[str, ...], ...]:
    """Return the addresses of a file of a suite at each mirror, for several possible paths."""
    columns = [mirror.build_urls(repository, f"dists/{suite}/{path}") for path in paths]
    return tuple(urls for urls in zip(*columns, strict=True) if is_local(urls[0]) or not offline)
