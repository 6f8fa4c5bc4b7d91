"""One Packages file: from the mirror, checked and unpacked, to the compact form in the store."""

import bz2
import lzma
import mmap
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from minbuild.archive.compact import FORMAT, Compact, Damaged, pack
from minbuild.archive.download import Wanted
from minbuild.archive.mirror import Mirror, is_local
from minbuild.errors import ArchiveError
from minbuild.store import Lost, Store

T = TypeVar("T")

ENDINGS = (".xz", ".gz", ".bz2", "")
"""Compressions that we read, the best one first."""
LARGEST = 1 << 30
"""Bytes of an unpacked index whose size the Release does not say."""


@dataclass(slots=True)
class Part:
    """One Packages file of one suite."""

    suite: str
    root: str
    path: str
    """Below dists/SUITE/: main/binary-amd64/Packages.xz."""
    sha256: str
    size: int
    unpacked: int
    """Bytes when unpacked."""
    by_hash: bool
    store: Store
    priority: int = 500
    """Against other archives."""
    _compact: Compact | None = None

    @property
    def kept(self) -> bool:
        """The compact form is in the store."""
        digest = self.store.get(FORMAT, self.sha256)
        return digest is not None and self.store.file(digest.decode()) is not None

    def wanted(self, mirror: Mirror, *, offline: bool) -> Wanted:
        """How to get the Packages file; offline, only mirrors on this machine are asked."""
        folder = self.path.rpartition("/")[0]
        paths = [f"{folder}/by-hash/SHA256/{self.sha256}"] if self.by_hash else []
        return Wanted(
            what=f"the index of {self.suite}",
            mirrors=addresses(mirror, self.root, self.suite, [*paths, self.path], offline=offline),
            sha256=self.sha256,
            size=self.size,
            fix="wait until the mirror is whole again, or use another mirror (--mirror URL)",
        )

    def make(self) -> None:
        """Make the compact form of the Packages file in the store.

        Raises: ArchiveError when that file is not there or cannot be unpacked.
        """
        data = self.store.read(self.sha256)
        if data is None:
            raise ArchiveError(
                f"the store lacks the index of {self.suite}",
                where=str(self.store.directory),
                fix="build once without --offline",
            )
        text = _unpack(data, self.path, max(self.unpacked, 0) or LARGEST, self.suite)
        digest = self.store.add(pack(text))
        self.store.put(FORMAT, {self.sha256: digest.encode()})

    def ask(self, question: Callable[[Compact], T]) -> T:
        """Ask the compact form; when it is damaged it is made again, once.

        Raises: ArchiveError; Lost when what it is made of is damaged, too.
        """
        try:
            return question(self._opened())
        except Damaged:
            self._compact = None
            if digest := self.store.get(FORMAT, self.sha256):
                self.store.forget(digest.decode())
            if self.store.sound(self.sha256) is None:
                raise Lost(
                    f"the store's index of {self.suite} was damaged and has been removed",
                    where=str(self.store.directory),
                    fix="run the command again: the index is fetched anew",
                ) from None
            self.make()
            return question(self._opened())

    def _opened(self) -> Compact:
        if self._compact is None:
            digest = self.store.get(FORMAT, self.sha256)
            path = self.store.file(digest.decode()) if digest else None
            if path is None:
                raise Damaged("not there")
            with path.open("rb") as file:
                try:
                    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                except ValueError as error:  # an empty file
                    raise Damaged(str(error)) from error
            self._compact = Compact(memoryview(data))
        return self._compact


def addresses(
    mirror: Mirror, root: str, suite: str, paths: Sequence[str], *, offline: bool
) -> tuple[tuple[str, ...], ...]:
    """The addresses of one file of a suite at each mirror, which may have it at several paths."""
    columns = [mirror.urls(root, f"dists/{suite}/{path}") for path in paths]
    return tuple(urls for urls in zip(*columns, strict=True) if is_local(urls[0]) or not offline)


def _unpack(data: bytes, path: str, limit: int, suite: str) -> bytes:
    """Unpack a Packages file that may not be larger than the Release says."""
    try:
        match path.rpartition("/")[2].removeprefix("Packages"):
            case ".xz":
                text = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data, limit + 1)
            case ".gz":
                text = zlib.decompressobj(wbits=31).decompress(data, limit + 1)
            case ".bz2":
                text = bz2.BZ2Decompressor().decompress(data, limit + 1)
            case _:
                text = data
    except (lzma.LZMAError, zlib.error, OSError, EOFError) as error:
        raise ArchiveError(
            f"the index of {suite} cannot be unpacked: {error}",
            where=path,
            fix="use another mirror (--mirror URL)",
        ) from error
    if len(text) > limit:
        raise ArchiveError(
            f"the index of {suite} unpacks to more than {limit} bytes",
            where=path,
            fix="use another mirror (--mirror URL)",
        )
    return text
