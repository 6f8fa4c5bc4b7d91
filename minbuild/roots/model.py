"""Packages, entries and external readers of an installed root: frozen data."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from minbuild.formats.elf_file import Bytes
from minbuild.formats.root_entry import RootEntry
from minbuild.paths import RootPath
from minbuild.process import GetProgram, RunProgram

UNOWNED = "(unowned)"
"""Owner of files that no package of the root lists: links and files made when it was installed."""


_MAX_INITRAMFS = 1 << 30
"""Bytes of the largest initramfs that is unpacked."""


@dataclass(frozen=True, slots=True)
class ExternalReaders:
    """Programs that read what nobody else can, and what the user said of the reading."""

    get_program: GetProgram
    note: Callable[[str], None]
    """Tells of what cannot be read and is done without."""
    partition: int | None = None
    """The partition of a disk that is examined; None for the one that boots."""

    @property
    def rpm(self) -> RunProgram:
        """rpm's databases but SQLite's."""
        return self.get_program("rpm")

    def unpack(self, name: str, data: bytes) -> bytes:
        """Unpack bytes with lz4 or lzop. Raises: MinbuildError."""
        purpose = "unpacking the initramfs"
        return self.get_program(name)(["-dc"], purpose=purpose, stdin=data, output=_MAX_INITRAMFS)


GetReaders = Callable[[], ExternalReaders]
"""Gets the readers at hand when one is needed."""


class RootSource(Protocol):
    """A place that holds a root."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def walk(self) -> Iterable[RootEntry]:
        """Every path; a hard link's first name is a file of the same walk.

        Devices, sockets and FIFOs are of Kind.OTHER. What is mounted on the root is left out.
        """
        ...

    def read(self, native_path: str) -> bytes:
        """The bytes of a file."""
        ...

    def read_heads(self, native_paths: Sequence[str], size: int) -> Iterable[tuple[str, bytes]]:
        """The first bytes of many files, no more than `size` of each; in any order."""
        ...

    def view(self, native_path: str) -> Bytes:
        """The bytes of a file, of which only those that are looked at are read."""
        ...


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """One installed package."""

    name: str
    version: str
    arch: str
    paths: tuple[RootPath, ...]
    depends: tuple[tuple[str, ...], ...] = ()
    provides: tuple[str, ...] = ()
    kind: str = "deb"
    """deb, rpm."""
    source: str = ""
    """Source package, when it has another name."""
    source_version: str = ""
    """Its version, when that differs."""
