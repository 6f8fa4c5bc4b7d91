"""What an installed root holds, before it is known whose files they are: frozen data."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from minbuild.facts.elftable import Bytes
from minbuild.facts.types import Kind
from minbuild.paths import MERGED, RootPath, rootpath

UNOWNED = "(unowned)"
"""Owner of files that no package of the root lists: links and files made when it was installed."""


class Program(Protocol):
    """A program of the toolbox that reads what a stranger wrote: it runs in a sandbox."""

    def __call__(
        self,
        args: Sequence[str | Path],
        *,
        what: str,
        reads: Sequence[Path] = (),
        writes: Path | None = None,
        stdin: bytes = b"",
        stdout: Path | None = None,
        output: int = 256 << 20,
        file: int = 1 << 20,
        codes: Sequence[int] = (0,),
    ) -> bytes:
        """Run it with these arguments and return its stdout; b"" where that goes to a file.

        `reads`: the files that it sees; `writes`: the one directory that it may write to;
        `output`, `file`: bytes of its stdout, and of the largest file that it may write;
        `codes`: how it may exit.
        Raises: MinbuildError.
        """
        ...


_LARGEST = 1 << 30
"""Bytes of the largest initramfs that is unpacked."""

Programs = Callable[[str], Program]
"""Gets a program of the toolbox by its name, fetched when it is first run."""


@dataclass(frozen=True, slots=True)
class Readers:
    """Programs that read what nobody else can, and what the user said of the reading."""

    programs: Programs
    note: Callable[[str], None]
    """Tells of what cannot be read and is done without."""
    partition: int | None = None
    """The partition of a disk that is examined; None for the one that boots."""

    @property
    def rpm(self) -> Program:
        """rpm's databases but SQLite's."""
        return self.programs("rpm")

    def unpack(self, name: str, data: bytes) -> bytes:
        """Unpack bytes with lz4 or lzop. Raises: MinbuildError."""
        what = "unpacking the initramfs"
        return self.programs(name)(["-dc"], what=what, stdin=data, output=_LARGEST)


Reach = Callable[[], Readers]
"""Gets the readers at hand when one is needed."""


@dataclass(frozen=True, slots=True)
class Found:
    """One path of a root."""

    path: RootPath
    """Where it lies in an image: usr-merged."""
    raw: str
    """Where it lies in the root, relative to its top: `bin/sh`."""
    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    """A link's text, spelled; a hard link's first name, as `raw`; a device's numbers: `c 1:3`."""
    capability: bytes = b""
    """Extended attribute security.capability of a file, whatever its reader had it from."""


class Source(Protocol):
    """A place that holds a root."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def walk(self) -> Iterable[Found]:
        """Every path; a hard link's first name is a file of the same walk.

        Devices, sockets and FIFOs are of Kind.OTHER. What is mounted on the root is left out.
        """
        ...

    def read(self, raw: str) -> bytes:
        """The bytes of a file."""
        ...

    def heads(self, raws: Sequence[str], size: int) -> Iterable[tuple[str, bytes]]:
        """The first bytes of many files, no more than `size` of each; in any order."""
        ...

    def view(self, raw: str) -> Bytes:
        """The bytes of a file, of which only those that are looked at are read."""
        ...


def place(raw: str, kind: Kind) -> RootPath:
    """The usr-merged path of `raw`; a directory /bin of an older root is the one behind it."""
    if kind is Kind.DIRECTORY and raw in MERGED:
        return RootPath("/" + MERGED[raw])
    return rootpath(raw)
