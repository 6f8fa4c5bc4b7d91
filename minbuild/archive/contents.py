"""Contents files of an archive, path → packages, in a compact form in the store.

A suite's Release file lists a Contents file for each component and architecture, with its digest; a
line is a path and the packages that contain it. The compact form omits what no image needs:
documentation, headers, icons. Contents files (50 MB for Debian) are downloaded only to find the
owner of a path that no locked package has.
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
from minbuild.archive.download import DownloadSpec, download, map_requests
from minbuild.archive.http_client import fetch_small
from minbuild.archive.index import Index
from minbuild.archive.mirror import Mirror
from minbuild.archive.model import LockedSuite
from minbuild.archive.packages_file import list_addresses
from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import ArchiveError
from minbuild.progress import Progress

MAX_CONTENTS_SIZE = 4 << 30
"""Bytes of the largest decompressed Contents file."""
CHUNK_SIZE = 1 << 22
BLOCK_SIZE = 1 << 16
_TAIL = struct.Struct("<I")
_ROW = re.compile(r"^ ([0-9a-f]{64}) +(\d+) (\S+)/Contents-(\S+)\.gz$", re.MULTILINE)
_SKIPPED_SHARE = (
    "doc man locale help info icons pixmaps gocode games texlive texmf texmf-dist nodejs libreoffice "
    "gimp qgis kicad ldraw mediawiki javascript themes ri maven-repo fonts cargo lintian backgrounds "
    "wallpapers sounds rubygems-integration gnome bug applications metainfo perl5 jsmath openclipart "
    "scilab pari eccodes mariadb php qt6 gnulib tuxpaint refmac-dictionary inkscape kodi octave"
)
_SKIPPED_PREFIXES = (
    *(f"usr/share/{name}/".encode() for name in _SKIPPED_SHARE.split()),
    *(f"usr/lib/{name}/".encode() for name in
      ["debug", "gcc-cross", "gcc", "haskell-packages", "R", "python3/dist-packages", "ghc", "iraf", "lazarus"]),
    b"usr/include/", b"usr/src/", b"var/", b"opt/", b"usr/lib/locale/", b"usr/share/acl2",
    b"usr/lib/acl2",
)  # fmt: skip
"""Paths that no image needs, or whose owners are known without Contents files."""


@dataclass(frozen=True, slots=True, order=True)
class PathOwner:
    """A package that contains a path."""

    path: str
    """Merged: /usr/lib/…"""
    package: str
    component: str
    """Of the archive: main, non-free-firmware."""
    suite: str
    signed: bool = True
    """False: according to an older file than the Release file lists."""


@dataclass
class ContentsFile:
    """A Contents file of a suite: component `main`, arch `amd64`."""

    suite: str
    repository: str
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
    def is_cached(self) -> bool:
        """Whether the compact form is in the store."""
        return bool(
            self._find_cached(RecordKind.CONTENTS) or self._find_cached(RecordKind.CONTENTS_HINT)
        )

    @property
    def is_signed(self) -> bool:
        """Whether the compact form is of the file that the Release file lists."""
        return bool(self._find_cached(RecordKind.CONTENTS))

    def fetch(self, mirror: Mirror, progress: Progress) -> str:
        """Download the Contents file and store its compact form; return why not, or "".

        Many mirrors have older Contents files than their Release file lists. They are used, too,
        but only for hints.
        """
        paths = [f"{self.component}/by-hash/SHA256/{self.sha256}"] if self.by_hash else []
        urls = list_addresses(
            mirror, self.repository, self.suite, [*paths, self.path], offline=False
        )
        fix = "wait until the mirror is in sync, or use another mirror (--mirror URL)"
        label = f"the Contents file of {self.suite}/{self.component}"
        spec = DownloadSpec(label, urls, self.sha256, self.size, fix)
        try:
            download([spec], self.store, progress, "Contents files")
            path = self.store.find_verified(self.sha256)
            self._build_index(RecordKind.CONTENTS, path.read_bytes() if path is not None else b"")
            self.store.discard(self.sha256)
        except ArchiveError:
            try:
                limit = 2 * self.size + (1 << 20)
                self._build_index(
                    RecordKind.CONTENTS_HINT, fetch_small(urls[0][-1], purpose=label, limit=limit)
                )
            except ArchiveError as error:
                return error.what
        return ""

    def _build_index(self, kind: RecordKind, data: bytes) -> None:
        digest = self.store.add(
            encode_contents(decompress_lines(data, f"{self.suite}/{self.path}"))
        )
        self.store.put(kind, {self.sha256: digest.encode()})

    def _find_cached(self, kind: RecordKind) -> str:
        digest = (self.store.get(kind, self.sha256) or b"").decode()
        return digest if digest and self.store.path(digest) is not None else ""

    @cached_property
    def index(self) -> "ContentsIndexFile":
        return ContentsIndexFile(
            self.store.require(
                self._find_cached(RecordKind.CONTENTS)
                or self._find_cached(RecordKind.CONTENTS_HINT)
            )
        )

    def find_owners(self, pattern: str) -> Iterator[PathOwner]:
        """Yield the packages that contain a path or the matches of a glob."""
        for path, packages in self.index.find_matches(pattern):
            for package in packages:
                yield PathOwner(path, package, self.component, self.suite, self.is_signed)


class Contents:
    """The Contents files of an archive's suites."""

    def __init__(self, contents_files: Sequence[ContentsFile], unknown: Sequence[str] = ()) -> None:
        """`unknown`: why Contents files of some suites are missing."""
        self._contents_files = tuple(contents_files)
        self.unknown = tuple(unknown)
        self.is_available = bool(contents_files or unknown)
        """False: the archive has no Contents files."""
        self.is_signed = all(file.is_signed for file in contents_files)
        """False: some are older than the Release file, or unsigned."""

    def find_owners(self, *patterns: str) -> tuple[PathOwner, ...]:
        """Return the packages that contain one of these paths or globs, sorted."""
        owners = {
            owner
            for pattern in patterns
            for file in self._contents_files
            for owner in file.find_owners(pattern)
        }
        return tuple(sorted(owners))


def open_contents(
    index: Index, arch: str, mirror: Mirror, store: Store, *, offline: bool, progress: Progress
) -> Contents:
    """Open the Contents files of the suites of an index; download missing ones unless offline.

    This includes components that the manifest does not list.
    """
    contents_files = _list_contents_files(index.suites, arch, store)
    missing = [file for file in contents_files if not file.is_cached]
    if missing and offline:
        unknown = ["--offline, and the store lacks the Contents files of the archive"]
    elif missing:
        progress.step("downloading the Contents files of the archive")
        failures = map_requests(lambda file: file.fetch(mirror, progress), missing)
        unknown = [reason for reason in failures if reason]
        progress.step("looking into the Contents files of the archive")
    else:
        unknown = []
    return Contents([file for file in contents_files if file.is_cached], sorted(set(unknown)))


def open_cached_contents(suites: Sequence[LockedSuite], arch: str, store: Store) -> Contents:
    """Open the Contents files of these suites that are in the store."""
    return Contents([file for file in _list_contents_files(suites, arch, store) if file.is_cached])


def _list_contents_files(
    suites: Sequence[LockedSuite], arch: str, store: Store
) -> list[ContentsFile]:
    return [
        file
        for suite in suites
        for file in _parse_contents_files(suite.name, suite.root, suite.sha256, arch, store)
    ]


def _parse_contents_files(
    suite: str, repository: str, release: str, arch: str, store: Store
) -> Iterator[ContentsFile]:
    """Yield the Contents files that a verified InRelease file (a digest) lists."""
    signed = store.read(release)
    text = openpgp.read_unverified(signed).decode("utf-8", "replace") if signed else ""
    by_hash = re.search(r"^Acquire-By-Hash: *yes", text, re.MULTILINE | re.IGNORECASE) is not None
    sums = text.partition("\nSHA256:")[2]
    for sha256, size, component, of in _ROW.findall(re.split(r"\n(?=\S)", sums)[0]):
        if of in (arch, "all"):
            yield ContentsFile(suite, repository, component, of, sha256, int(size), by_hash, store)


def decompress_lines(data: bytes, where: str) -> Iterator[bytes]:
    """Yield whole lines of a compressed Contents file, in pieces.

    Raises: ArchiveError if it is corrupt or decompresses to too much.
    """
    stream = zlib.decompressobj(wbits=31)
    partial_line, size = b"", 0
    try:
        while data:
            chunk = stream.decompress(data, CHUNK_SIZE)
            data = stream.unconsumed_tail
            if stream.eof:  # a file of several members
                data, stream = stream.unused_data, zlib.decompressobj(wbits=31)
            elif not chunk:
                break
            size += len(chunk)
            if size > MAX_CONTENTS_SIZE:
                raise ArchiveError(
                    f"the Contents file decompresses to more than {MAX_CONTENTS_SIZE} bytes",
                    where=where, fix="use another mirror (--mirror URL)",
                )  # fmt: skip
            lines, newline, partial_line = (partial_line + chunk).rpartition(b"\n")
            yield lines + newline
    except zlib.error as error:
        fix = "use another mirror (--mirror URL)"
        raise ArchiveError(
            f"cannot decompress the Contents file: {error}", where=where, fix=fix
        ) from error
    yield partial_line


def encode_contents(chunks: Iterator[bytes]) -> bytes:
    """Encode the compact form of a Contents file."""
    rows = []
    for chunk in chunks:
        for line in chunk.split(b"\n"):
            if line.startswith(_SKIPPED_PREFIXES) or len(parts := line.rsplit(None, 1)) != 2:
                continue
            directory, _, name = parts[0].rstrip().rpartition(b"/")
            names = b",".join([owner.rpartition(b"/")[2] for owner in parts[1].split(b",")])
            rows.append(b"%s\t%s\t%s" % (name, directory, names))
    rows.sort()
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
    out, firsts, ends = bytearray(), [], []
    block: list[bytes] = []
    size = 0
    for number, row in enumerate(rows):
        block.append(row)
        size += len(row)
        if size >= BLOCK_SIZE or number == len(rows) - 1:
            firsts.append(block[0].partition(b"\t")[0].decode("utf-8", "surrogateescape"))
            out += compressor.compress(b"\n".join(block))
            ends.append(len(out))
            block, size = [], 0
    table = compressor.compress(json.dumps([firsts, ends]).encode())
    return bytes(out) + table + _TAIL.pack(len(table))


class ContentsIndexFile:
    """The compact form of a Contents file, read block by block."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._decompressor = zstandard.ZstdDecompressor()
        self._blocks: dict[int, list[str]] = {}
        (size,) = _TAIL.unpack(data[-_TAIL.size :])
        end = len(data) - _TAIL.size
        self._firsts, self._ends = json.loads(self._decompressor.decompress(data[end - size : end]))

    def find_matches(self, pattern: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield merged path and packages of every line that matches a path or glob."""
        directory, _, name = pattern.rpartition("/")
        start = re.split(r"[*?\[]", name, maxsplit=1)[0]
        is_match = (
            _compile_glob(pattern) if start != name or re.search(r"[*?\[]", directory) else None
        )
        for line in self._find_lines(start, exactly=start == name):
            base, parent, packages = line.split("\t")
            path = merge_usr(f"/{parent}/{base}")
            if is_match(path) if is_match is not None else path == pattern:
                yield path, tuple(packages.split(","))

    def _find_lines(self, start: str, *, exactly: bool) -> Iterator[str]:
        """Yield the lines whose name is `start`, or begins with it."""
        at = max(bisect.bisect_left(self._firsts, start) - 1, 0)
        prefix = f"{start}\t" if exactly else start
        while at < len(self._firsts) and self._firsts[at][: len(start)] <= start:
            yield from (line for line in self._read_block(at) if line.startswith(prefix))
            at += 1

    def _read_block(self, number: int) -> list[str]:
        if number not in self._blocks:
            start = self._ends[number - 1] if number else 0
            data = self._decompressor.decompress(self._data[start : self._ends[number]])
            self._blocks[number] = data.decode("utf-8", "surrogateescape").split("\n")
        return self._blocks[number]


def merge_usr(path: str) -> str:
    """Return a path with /bin, /sbin and /lib* moved below /usr."""
    return re.sub(r"^/(?=s?bin/|lib(?:32|64|x32|o32)?/)", "/usr/", path)


def _compile_glob(pattern: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(pattern)).match
