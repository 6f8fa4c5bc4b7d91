"""One Packages file: from the mirror, checked and unpacked, to the compact form in the store."""

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from minbuild.archive.compact import FORMAT, Compact, Damaged, pack
from minbuild.archive.download import Wanted
from minbuild.archive.mirror import Mirror, is_local
from minbuild.archive.unpack import unpack
from minbuild.errors import ArchiveError
from minbuild.store import Lost, Store

T = TypeVar("T")


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
    """Bytes when unpacked; -1 where the Release does not say."""
    by_hash: bool
    store: Store
    priority: int = 500
    """Against other archives."""
    signer: str = ""
    """Whose word it is, as by `suite.signer`."""
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
        text = unpack(data, self.path, f"the index of {self.suite}", size=self.unpacked)
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
