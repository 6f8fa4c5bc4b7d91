"""How an index is kept: paragraphs in small compressed blocks, found by name without reading all.

block*      64 package names' paragraphs, sorted, one zstd frame with a checksum
provides    lines `VIRTUAL PROVIDER PROVIDER …`, sorted, one frame
table       JSON: first name and end of each block, one frame
tail        sizes of provides and table, and how many packages there are
"""

import bisect
import contextlib
import json
import re
import struct
from collections.abc import Iterable, Iterator
from itertools import groupby

import zstandard

from minbuild.errors import ArchiveError

FORMAT = "index/2"
"""Part of the key under which the store keeps it: another layout, another key."""

_FIELDS = rb"Package|Version|Architecture|Source|Depends|Pre-Depends|Provides|Filename|Size|SHA256"
_KEPT = re.compile(rb"\n((?:" + _FIELDS + rb"): ?[^\n]*(?:\n[ \t][^\n]*)*+|(?=\n))")
MOST_PACKAGES = 1_000_000
"""Paragraphs of one index: Debian's largest have 70,000."""
MOST_LINES = 12_000_000
"""Lines of one index: Debian's largest have 2 million."""
LARGEST_PARAGRAPH = 256 << 10
"""Bytes that are kept of one paragraph: those of real packages stay below 40,000."""
_NAMES = 64
_TAIL = struct.Struct("<III")
_LEVEL = 1


class Damaged(Exception):
    """The kept form cannot be read: it is to be made again."""


def pack(packages: bytes) -> bytes:
    """Make the compact form of a Packages file.

    Raises: ArchiveError for more packages, lines or bytes of one package than an index has.
    """
    if packages.count(b"\n") > MOST_LINES:
        raise _beyond(f"it has more than {MOST_LINES} lines")
    paragraphs = b"\n".join(_KEPT.findall(b"\n" + packages + b"\n")).split(b"\n\n")
    if len(paragraphs) > MOST_PACKAGES:
        raise _beyond(f"it has more than {MOST_PACKAGES} packages")
    if max(map(len, paragraphs)) > LARGEST_PARAGRAPH:
        raise _beyond(f"a package of it has more than {LARGEST_PARAGRAPH} bytes")
    named = sorted(_name_first(one.strip(b"\n")) for one in paragraphs if b"Package: " in one)
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    out = bytearray()
    firsts: list[str] = []
    ends: list[int] = []
    for block in _blocks(named):
        firsts.append(_name(block[0]).decode())
        out += compressor.compress(b"\n\n".join(block) + b"\n")
        ends.append(len(out))
    provides = compressor.compress(_provides(named))
    table = compressor.compress(json.dumps([firsts, ends]).encode())
    return bytes(out) + provides + table + _TAIL.pack(len(provides), len(table), len(named))


class Compact:
    """A compact form, read a block at a time."""

    def __init__(self, data: memoryview) -> None:
        """Open it from its bytes (mapped or read).

        Raises: Damaged.
        """
        self._data = data
        self._decompressor = zstandard.ZstdDecompressor()
        self._blocks: dict[int, bytes] = {}
        with _damage():
            provides, table, self.count = _TAIL.unpack(data[-_TAIL.size :])
            end = len(data) - _TAIL.size
            self._provides_at = (end - table - provides, end - table)
            self._firsts, self._ends = json.loads(self._frame(end - table, end))
        self._virtual: bytes | None = None

    def paragraphs(self, name: str) -> list[str]:
        """Every paragraph of the package with this name.

        Raises: Damaged.
        """
        place = bisect.bisect_right(self._firsts, name) - 1
        if place < 0:
            return []
        block = b"\n\n" + self._block(place)
        start = f"\n\nPackage: {name}\n".encode()
        found = []
        at = block.find(start)
        while at >= 0:
            end = block.find(b"\n\n", at + 2)
            found.append(block[at + 2 : end if end >= 0 else len(block)].decode())
            at = block.find(start, at + 2)
        return found

    def providers(self, virtual: str) -> list[str]:
        """Names of the packages that provide a virtual package, sorted.

        Raises: Damaged.
        """
        if self._virtual is None:
            with _damage():
                self._virtual = b"\n" + self._frame(*self._provides_at)
        at = self._virtual.find(f"\n{virtual} ".encode())
        if at < 0:
            return []
        return self._virtual[at : self._virtual.find(b"\n", at + 1)].decode().split()[1:]

    def names(self, prefix: str) -> list[str]:
        """Names of packages that start with `prefix`, sorted.

        Raises: Damaged.
        """
        found: dict[str, None] = {}
        place = max(bisect.bisect_left(self._firsts, prefix) - 1, 0)
        while place < len(self._firsts) and self._firsts[place][: len(prefix)] <= prefix:
            text = "\n" + self._block(place).decode()
            matches = re.findall(r"\nPackage: (\S+)", text)
            found |= dict.fromkeys(name for name in matches if name.startswith(prefix))
            place += 1
        return list(found)

    def _block(self, place: int) -> bytes:
        found = self._blocks.get(place)
        if found is None:
            with _damage():
                start = self._ends[place - 1] if place else 0
                found = self._frame(start, self._ends[place])
            self._blocks[place] = found
        return found

    def _frame(self, start: int, end: int) -> bytes:
        return self._decompressor.decompress(self._data[start:end])


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except (zstandard.ZstdError, struct.error, ValueError, IndexError, TypeError) as error:
        raise Damaged(str(error)) from error


def _beyond(what: str) -> ArchiveError:
    return ArchiveError(
        f"the index cannot be one of packages: {what}",
        where="Packages",
        fix="use another mirror (--mirror URL)",
    )


def _name(paragraph: bytes) -> bytes:
    return paragraph[9:].partition(b"\n")[0]


def _name_first(paragraph: bytes) -> bytes:
    """Put the field Package before the others, where it usually is."""
    if paragraph.startswith(b"Package: "):
        return paragraph
    match = re.search(rb"^Package: .*$", paragraph, re.MULTILINE)
    if match is None:
        raise ArchiveError(
            "the index has a paragraph without a package's name",
            where=paragraph[:80].decode("utf-8", "replace"),
            fix="use another mirror",
        )
    return match[0] + b"\n" + paragraph[: match.start()] + paragraph[match.end() + 1 :]


def _blocks(paragraphs: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Groups of paragraphs; all those of one name stay together."""
    block: list[bytes] = []
    names = 0
    for _, same in groupby(paragraphs, _name):
        block += same
        names += 1
        if names == _NAMES:
            yield block
            block, names = [], 0
    if block:
        yield block


def _provides(paragraphs: Iterable[bytes]) -> bytes:
    found: dict[bytes, set[bytes]] = {}
    for paragraph in paragraphs:
        at = paragraph.find(b"\nProvides:")
        if at < 0:
            continue
        end = paragraph.find(b"\n", at + 1)
        value = paragraph[at + 10 : end if end >= 0 else len(paragraph)]
        for virtual in re.findall(
            rb"([^\s,(:]+)(?::\w+)?[ \t\n]*+(?:\([^(),]*\))?[ \t\n]*+(?:,|$)", value
        ):
            found.setdefault(virtual, set()).add(_name(paragraph))
    lines = (virtual + b" " + b" ".join(sorted(found[virtual])) for virtual in sorted(found))
    return b"\n".join(lines) + b"\n"
