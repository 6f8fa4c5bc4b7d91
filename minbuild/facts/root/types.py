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


Program = Callable[[Sequence[str | Path]], bytes]
"""Runs a program with these arguments and returns its stdout. Raises: MinbuildError."""


@dataclass(frozen=True, slots=True)
class Readers:
    """Programs that read what nobody else can."""

    debugfs: Program
    """ext2, ext3 and ext4."""
    rpm: Program
    """rpm's databases but SQLite's."""
    note: Callable[[str], None]
    """Tells of what cannot be read and is done without."""
    unpack: Callable[[str, bytes], bytes]
    """Unpacks bytes with lz4 or lzop, which the first argument names."""


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
    """A link's text, spelled; a hard link's first name, as `raw`."""
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
