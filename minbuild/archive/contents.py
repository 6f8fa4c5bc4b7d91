"""Which package of an archive has a path: its Contents files, kept in a small form.

A suite's Release names a Contents file for each component and architecture, with its digest; a line
is a path and the packages that have it. Only what an image could need is kept: no documentation,
no headers, no icons. They are fetched when nothing else tells who has a path: 50 MB for Debian.
Source: https://wiki.debian.org/DebianRepository/Format, "Contents" indices.

block*   lines `NAME TAB DIRECTORY TAB PACKAGE[,PACKAGE…]`, sorted by name, one zstd frame each
table    JSON: first name and end of each block, one frame
tail     size of the table
"""

import bisect
import fnmatch
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import zstandard

from minbuild.archive import openpgp
from minbuild.archive.download import Wanted, download, side_by_side
from minbuild.archive.index import Index
from minbuild.archive.mirror import Mirror
from minbuild.archive.offers import get
from minbuild.archive.part import addresses
from minbuild.archive.types import SuiteState
from minbuild.errors import ArchiveError
from minbuild.progress import Progress
from minbuild.store import Store

KIND = "contents/1"
"""Digest of a Contents file → digest of its small form."""
HINT = "contents-hint/1"
"""The same, made of what a mirror has in place of the file that the Release names."""
LARGEST = 4 << 30
"""Bytes of the largest unpacked Contents file."""
PIECE = 1 << 22
BLOCK = 1 << 16
_TAIL = struct.Struct("<I")
_ROW = re.compile(r"^ ([0-9a-f]{64}) +(\d+) (\S+)/Contents-(\S+)\.gz$", re.MULTILINE)
_SHARED = (
    "doc man locale help info icons pixmaps gocode games texlive texmf texmf-dist nodejs libreoffice "
    "gimp qgis kicad ldraw mediawiki javascript themes ri maven-repo fonts cargo lintian backgrounds "
    "wallpapers sounds rubygems-integration gnome bug applications metainfo perl5 jsmath openclipart "
    "scilab pari eccodes mariadb php qt6 gnulib tuxpaint refmac-dictionary inkscape kodi octave"
)
_LEFT_OUT = (
    *(f"usr/share/{name}/".encode() for name in _SHARED.split()),
    *(f"usr/lib/{name}/".encode() for name in
      ["debug", "gcc-cross", "gcc", "haskell-packages", "R", "python3/dist-packages", "ghc", "iraf", "lazarus"]),
    b"usr/include/", b"usr/src/", b"var/", b"opt/", b"usr/lib/locale/", b"usr/share/acl2",
    b"usr/lib/acl2",
)  # fmt: skip
"""What no image needs, or what is known otherwise."""


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """One package that has a path."""

    path: str
    """Merged: /usr/lib/…"""
    package: str
    component: str
    """Of the archive: main, non-free-firmware."""
    suite: str
    signed: bool = True
    """False: by a list that is not the one which the Release names."""


@dataclass
class Listing:
    """One Contents file of one suite."""

    suite: str
    root: str
    component: str
    arch: str
    sha256: str
    size: int
    by_hash: bool
    store: Store

    @property
    def path(self) -> str:
        return f"{self.component}/Contents-{self.arch}.gz"

    @property
    def is_kept(self) -> bool:
        """Whether a small form is in the store."""
        return bool(self._kept(KIND) or self._kept(HINT))

    @property
    def is_signed(self) -> bool:
        """Whether the small form was made of the very file that the Release names."""
        return bool(self._kept(KIND))

    def bring(self, mirror: Mirror, progress: Progress) -> str:
        """Fetch the Contents file and make its small form; says why not, else "".

        Mirrors fetch these large files seldom, and have older ones: who has a path is then read
        off what the mirror has, for people only.
        """
        paths = [f"{self.component}/by-hash/SHA256/{self.sha256}"] if self.by_hash else []
        places = addresses(mirror, self.root, self.suite, [*paths, self.path], offline=False)
        fix = "wait until the mirror is whole again, or use another mirror (--mirror URL)"
        what = f"the list of files of {self.suite}/{self.component}"
        wanted = Wanted(what, places, self.sha256, self.size, fix)
        try:
            download([wanted], self.store, progress, "lists of files")
            place = self.store.sound(self.sha256)
            self._make(KIND, place.read_bytes() if place is not None else b"")
            self.store.forget(self.sha256)
        except ArchiveError:
            try:
                limit = 2 * self.size + (1 << 20)
                self._make(HINT, get(places[0][-1], what=what, limit=limit))
            except ArchiveError as error:
                return error.what
        return ""

    def _make(self, kind: str, data: bytes) -> None:
        digest = self.store.add(pack(unpacked(data, f"{self.suite}/{self.path}")))
        self.store.put(kind, {self.sha256: digest.encode()})

    def _kept(self, kind: str) -> str:
        digest = (self.store.get(kind, self.sha256) or b"").decode()
        return digest if digest and self.store.file(digest) is not None else ""

    @cached_property
    def small(self) -> "Small":
        return Small(self.store.need(self._kept(KIND) or self._kept(HINT)))

    def owners(self, pattern: str) -> Iterator[Owner]:
        """The packages that have a path, or paths of a glob."""
        for path, packages in self.small.matching(pattern):
            for package in packages:
                yield Owner(path, package, self.component, self.suite, self.is_signed)


class Contents:
    """The Contents files of an archive's suites."""

    def __init__(self, listings: Sequence[Listing], unknown: Sequence[str] = ()) -> None:
        """`unknown`: suites whose lists cannot be looked into, and why."""
        self._listings = tuple(listings)
        self.unknown = tuple(unknown)
        self.is_there = bool(listings or unknown)
        """False: the archive has no lists of files."""
        self.is_signed = all(one.is_signed for one in listings)
        """False: some are older than the Release, or of nobody knows whom."""

    def owners(self, *patterns: str) -> tuple[Owner, ...]:
        """The packages that have one of these paths or globs; sorted."""
        found = {one for text in patterns for each in self._listings for one in each.owners(text)}
        return tuple(sorted(found))


def open_contents(
    index: Index, arch: str, mirror: Mirror, store: Store, *, offline: bool, progress: Progress
) -> Contents:
    """Open the Contents files of an index's suites; what is not kept is fetched, unless offline.

    Every component that a suite has counts, also those that the manifest does not list.
    """
    listings = _all(index.suites, arch, store)
    new = [one for one in listings if not one.is_kept]
    if new and offline:
        unknown = ["--offline, and the store lacks the archive's lists of files"]
    elif new:
        progress.step("fetching the archive's lists of files")
        found = side_by_side(lambda one: one.bring(mirror, progress), new)
        unknown = [reason for reason in found if reason]
    else:
        unknown = []
    return Contents([one for one in listings if one.is_kept], sorted(set(unknown)))


def kept_contents(suites: Sequence[SuiteState], arch: str, store: Store) -> Contents:
    """The Contents files of these suites that the store has; nothing is fetched."""
    return Contents([one for one in _all(suites, arch, store) if one.is_kept])


def _all(suites: Sequence[SuiteState], arch: str, store: Store) -> list[Listing]:
    return [
        one
        for suite in suites
        for one in _listings(suite.name, suite.root, suite.sha256, arch, store)
    ]


def _listings(suite: str, root: str, release: str, arch: str, store: Store) -> Iterator[Listing]:
    """The Contents files that a suite's verified InRelease names, by its digest."""
    signed = store.read(release)
    text = openpgp.cleartext(signed).decode("utf-8", "replace") if signed else ""
    by_hash = re.search(r"^Acquire-By-Hash: *yes", text, re.MULTILINE | re.IGNORECASE) is not None
    sums = text.partition("\nSHA256:")[2]
    for sha256, size, component, of in _ROW.findall(re.split(r"\n(?=\S)", sums)[0]):
        if of in (arch, "all"):
            yield Listing(suite, root, component, of, sha256, int(size), by_hash, store)


def unpacked(data: bytes, where: str) -> Iterator[bytes]:
    """Whole lines of a packed Contents file, piece by piece.

    Raises: ArchiveError when it is damaged or unpacks to more than can be.
    """
    stream = zlib.decompressobj(wbits=31)
    rest, size = b"", 0
    try:
        while data:
            piece = stream.decompress(data, PIECE)
            data = stream.unconsumed_tail
            if stream.eof:  # a file of several members
                data, stream = stream.unused_data, zlib.decompressobj(wbits=31)
            elif not piece:
                break
            size += len(piece)
            if size > LARGEST:
                raise ArchiveError(
                    f"a list of files unpacks to more than {LARGEST} bytes",
                    where=where, fix="use another mirror (--mirror URL)",
                )  # fmt: skip
            lines, newline, rest = (rest + piece).rpartition(b"\n")
            yield lines + newline
    except zlib.error as error:
        fix = "use another mirror (--mirror URL)"
        raise ArchiveError(
            f"a list of files cannot be unpacked: {error}", where=where, fix=fix
        ) from error
    yield rest


def pack(pieces: Iterator[bytes]) -> bytes:
    """Make the small form of a Contents file."""
    rows = []
    for piece in pieces:
        for line in piece.split(b"\n"):
            if line.startswith(_LEFT_OUT) or len(parts := line.rsplit(None, 1)) != 2:
                continue
            directory, _, name = parts[0].rstrip().rpartition(b"/")
            names = b",".join([one.rpartition(b"/")[2] for one in parts[1].split(b",")])
            rows.append(b"%s\t%s\t%s" % (name, directory, names))
    rows.sort()
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
    out, firsts, ends = bytearray(), [], []
    block: list[bytes] = []
    size = 0
    for number, row in enumerate(rows):
        block.append(row)
        size += len(row)
        if size >= BLOCK or number == len(rows) - 1:
            firsts.append(block[0].partition(b"\t")[0].decode("utf-8", "surrogateescape"))
            out += compressor.compress(b"\n".join(block))
            ends.append(len(out))
            block, size = [], 0
    table = compressor.compress(json.dumps([firsts, ends]).encode())
    return bytes(out) + table + _TAIL.pack(len(table))


class Small:
    """A small form, read a block at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._decompressor = zstandard.ZstdDecompressor()
        self._blocks: dict[int, list[str]] = {}
        (size,) = _TAIL.unpack(data[-_TAIL.size :])
        end = len(data) - _TAIL.size
        self._firsts, self._ends = json.loads(self._decompressor.decompress(data[end - size : end]))

    def matching(self, pattern: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Merged path and packages of every line that a path or a glob names."""
        directory, _, name = pattern.rpartition("/")
        start = re.split(r"[*?\[]", name, maxsplit=1)[0]
        is_match = _matcher(pattern) if start != name or re.search(r"[*?\[]", directory) else None
        for line in self._near(start, exactly=start == name):
            base, place, packages = line.split("\t")
            path = merged(f"/{place}/{base}")
            if is_match(path) if is_match is not None else path == pattern:
                yield path, tuple(packages.split(","))

    def _near(self, start: str, *, exactly: bool) -> Iterator[str]:
        """Lines whose name is `start`, or begins so."""
        at = max(bisect.bisect_left(self._firsts, start) - 1, 0)
        wanted = f"{start}\t" if exactly else start
        while at < len(self._firsts) and self._firsts[at][: len(start)] <= start:
            yield from (line for line in self._block(at) if line.startswith(wanted))
            at += 1

    def _block(self, place: int) -> list[str]:
        if place not in self._blocks:
            begin = self._ends[place - 1] if place else 0
            data = self._decompressor.decompress(self._data[begin : self._ends[place]])
            self._blocks[place] = data.decode("utf-8", "surrogateescape").split("\n")
        return self._blocks[place]


def merged(path: str) -> str:
    """A path with /bin, /lib and the like below /usr."""
    return re.sub(r"^/(?=s?bin/|lib(?:32|64|x32|o32)?/)", "/usr/", path)


def _matcher(pattern: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(pattern)).match
