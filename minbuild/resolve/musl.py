"""Where musl's loader looks, which is not where glibc's does.

One path of directories, no cache; RPATH and RUNPATH are one, and serve those that an object brings
in too; sonames, filters, auditors, preloads of a file and versions of symbols are nothing to it; the
first file of a name is taken, fit or not. Source: musl 1.2.5, ldso/dynlink.c (load_library,
path_open, fixup_rpath, decode_dyn).
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from minbuild.facts.types import Elf, Listing
from minbuild.paths import RootPath, parents
from minbuild.resolve.catalog import LOOP, Catalog
from minbuild.resolve.machine import Machine
from minbuild.resolve.process import Loaded, Process
from minbuild.resolve.search import Hit, Search, Searcher

DIRECTORIES = ("/lib", "/usr/local/lib", "/usr/lib")
"""Without a file that says others."""
_RESERVED = re.compile(r"lib(?:c|pthread|rt|m|dl|util|xnet)\.")
"""Names that stand for the loader, which is the C library itself."""
_ORIGIN = re.compile(r"\$(?:ORIGIN|\{ORIGIN\})")
_LIBC = re.compile(r"libc\.musl-.*|libc\.so")
"""Sonames of musl, in Alpine and as it is built."""


@dataclass(eq=False, slots=True)
class Musl:
    """The loader of one process."""

    catalog: Catalog
    searcher: Searcher
    interpreter: str
    """PT_INTERP's text, or where it would be for a library on its own."""
    arch: str
    itself: Loaded | None = None
    """None where it is not there."""
    _paths: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def is_itself(self, name: str) -> bool:
        """Tell whether a name stands for the loader."""
        return _RESERVED.match(name) is not None or name == self.interpreter

    def search(self, via: Loaded, name: str) -> Search:
        """Find the file for a name that `via` asks for."""
        if "/" in name:
            found = self._open(name) if name.startswith("/") else None
            return _as_search(found, name, (name,))
        looked: tuple[str, ...] = ()
        for directories in (*self._lists(via), self.directories):
            for number, directory in enumerate(directories):
                raw = f"{directory}/{name}"
                found = self._open(raw)
                if found is not None:
                    return _as_search(found, raw, (*looked, *directories[: number + 1]))
            looked += directories
        return Search(None, looked)

    @property
    def file(self) -> str:
        """The file that lists directories: by the prefix that the interpreter stands in."""
        prefix = posixpath.dirname(posixpath.dirname(self.interpreter)).rstrip("/")
        return f"{prefix}/etc/ld-musl-{self.arch}.path"

    @property
    def directories(self) -> tuple[str, ...]:
        """The directories for all; none where the file that lists them is empty or unreadable."""
        if self.file not in self._paths:
            self._paths[self.file] = self._listed()
        return self._paths[self.file]

    def _listed(self) -> tuple[str, ...]:
        reached = self.catalog.reach(self.file)
        if reached is None:
            return DIRECTORIES
        real = self.catalog.real(reached.path)
        if real is None:  # ENOENT of a dangling link; a circle is another error
            return DIRECTORIES if self.catalog.why_not(self.file) == "nothing is there" else ()
        facts = self.catalog.facts(real)
        lines = facts.lines if isinstance(facts, Listing) else ()
        return tuple(line for line in lines if line.startswith("/"))

    def _lists(self, via: Loaded) -> Iterator[tuple[str, ...]]:
        """RPATHs of the object and of all that led to it."""
        by: Loaded | None = via
        while by is not None:
            yield tuple(_expanded(by))
            by = by.loader

    def _open(self, raw: str) -> Hit | str | None:
        """Open what is at `raw`: None to search on, a text for what ends the search."""
        hit = self.searcher.interpreter(raw)
        if isinstance(hit, Hit):
            return hit if hit.elf.dynamic else "no dynamic section"
        if hit is None:
            reached = self.catalog.reach(raw)
            if reached is not None and self.catalog.real(reached.path) is not None:
                return "made for another machine"
            return LOOP if reached is None and self._turns(raw) else None
        return hit

    def _turns(self, raw: str) -> bool:
        """Tell whether a link on the way turns in a circle, which ends every search."""
        return any(self.catalog.why_not(parent) == LOOP for parent in parents(RootPath(raw)))


def musl_of(
    process: Process, catalog: Catalog, searcher: Searcher, machine: Machine
) -> Musl | None:
    """The loader of a process where it is musl's; None for glibc's."""
    elf, arch = process.main.elf, machine.triplet.partition("-")[0]
    raw = elf.interpreter or f"/lib/ld-musl-{arch}.so.1"
    hit = searcher.interpreter(raw) if raw.startswith("/") else None
    found = hit if isinstance(hit, Hit) else None
    if not (_names_musl(raw, found) if elf.interpreter else _wants_musl(elf, found, searcher)):
        return None
    musl = Musl(catalog, searcher, raw, arch)
    if found is not None:
        musl.itself = process.paths.get(found.real) or Loaded(
            found.real, found.reach.path, found.elf, posixpath.dirname(raw), None
        )
    return musl


def _names_musl(raw: str, hit: Hit | None) -> bool:
    """Tell musl's loader by its name, or by what a link under another name leads to."""
    names = [raw, *([hit.real] if hit is not None else [])]
    if any(name.rpartition("/")[2].startswith("ld-musl-") for name in names):
        return True
    return hit is not None and _LIBC.fullmatch(hit.elf.soname) is not None


def _wants_musl(elf: Elf, hit: Hit | None, searcher: Searcher) -> bool:
    """Tell a library for musl: by what it needs, or by a root that has no other loader."""
    if any(_LIBC.fullmatch(name) for name in elf.needed):
        return True
    return hit is not None and "libc.so.6" not in elf.needed and not searcher.has_glibc


def _expanded(by: Loaded) -> Iterator[str]:
    """The directories of an object's RUNPATH, or else RPATH; an unknown token voids all of it."""
    text = ":".join(by.elf.runpath or by.elf.rpath)
    if "$" in _ORIGIN.sub("", text):
        return
    for directory in _ORIGIN.sub(lambda _: by.origin, text).split(":"):
        # one that is relative to wherever a program is started proves nothing
        if directory.startswith("/"):
            yield directory


def _as_search(found: Hit | str | None, raw: str, looked: tuple[str, ...]) -> Search:
    if isinstance(found, Hit):
        return Search(found, looked)
    if found is None:
        return Search(None, looked)
    return Search(None, (*looked[:-1], f"{raw} ({found})"), final=True)
