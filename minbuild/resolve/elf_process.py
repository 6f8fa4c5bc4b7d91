"""Processes as a loader builds them: objects in load order, names, requests for more; and musl's
loader, whose search differs from glibc's.

One path of directories, no cache; RPATH and RUNPATH are one, and serve those that an object brings
in too; sonames, filters, auditors, preloads of a file and versions of symbols are nothing to it;
the first file of a name is taken, fit or not.

Source: musl 1.2.5, ldso/dynlink.c (load_library, path_open, fixup_rpath, decode_dyn).
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from minbuild.facts.model import Elf, LoaderConfigLines
from minbuild.paths import RootPath, list_parents
from minbuild.resolve.builtin_tables import Architecture
from minbuild.resolve.library_search import LibraryFound, LibrarySearch, SearchResult
from minbuild.resolve.model import LoadedObject, NeedKind, RuleResult
from minbuild.resolve.package_view import LINK_LOOP, PackageView

DEFAULT_DIRECTORIES = ("/lib", "/usr/local/lib", "/usr/lib")
"""Without a file that says others."""
_RESERVED_NAMES = re.compile(r"lib(?:c|pthread|rt|m|dl|util|xnet)\.")
"""Names that stand for the loader, which is the C library itself."""
_ORIGIN = re.compile(r"\$(?:ORIGIN|\{ORIGIN\})")
_LIBC_SONAME = re.compile(r"libc\.musl-.*|libc\.so")
"""Sonames of musl, in Alpine and as it is built."""


@dataclass(eq=False, slots=True)
class MuslLoader:
    """The loader of one process."""

    view: PackageView
    library_search: LibrarySearch
    interpreter: str
    """PT_INTERP's text, or where it would be for a library on its own."""
    arch: str
    loaded_object: LoadedObject | None = None
    """None where it is not there."""
    _directories_by_file: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def is_loader(self, name: str) -> bool:
        """Tell whether a name stands for the loader."""
        return _RESERVED_NAMES.match(name) is not None or name == self.interpreter

    def search(self, opener: LoadedObject, name: str) -> SearchResult:
        """Find the file for a name that `opener` asks for."""
        if "/" in name:
            opened = self._open(name) if name.startswith("/") else None
            return _as_result(opened, name, (name,))
        searched: tuple[str, ...] = ()
        for directories in (*self._list_rpaths(opener), self.directories):
            for number, directory in enumerate(directories):
                raw = f"{directory}/{name}"
                opened = self._open(raw)
                if opened is not None:
                    return _as_result(opened, raw, (*searched, *directories[: number + 1]))
            searched += directories
        return SearchResult(None, searched)

    @property
    def path_file(self) -> str:
        """The file that lists directories: by the prefix that the interpreter stands in."""
        prefix = posixpath.dirname(posixpath.dirname(self.interpreter)).rstrip("/")
        return f"{prefix}/etc/ld-musl-{self.arch}.path"

    @property
    def directories(self) -> tuple[str, ...]:
        """The directories for all; none where the file that lists them is empty or unreadable."""
        if self.path_file not in self._directories_by_file:
            self._directories_by_file[self.path_file] = self._read_directories()
        return self._directories_by_file[self.path_file]

    def _read_directories(self) -> tuple[str, ...]:
        resolved = self.view.look_up(self.path_file)
        if resolved is None:
            return DEFAULT_DIRECTORIES
        real = self.view.resolve_links(resolved.path)
        if real is None:  # ENOENT of a dangling link; a circle is another error
            return (
                DEFAULT_DIRECTORIES
                if self.view.explain_failure(self.path_file) == "nothing is there"
                else ()
            )
        facts = self.view.get_facts(real)
        lines = facts.lines if isinstance(facts, LoaderConfigLines) else ()
        return tuple(line for line in lines if line.startswith("/"))

    def _list_rpaths(self, opener: LoadedObject) -> Iterator[tuple[str, ...]]:
        """RPATHs of the object and of all that led to it."""
        loaded: LoadedObject | None = opener
        while loaded is not None:
            yield tuple(_expand_rpaths(loaded))
            loaded = loaded.loaded_by

    def _open(self, raw: str) -> LibraryFound | str | None:
        """Open what is at `raw`: None to search on, a text for what ends the search."""
        hit = self.library_search.open_interpreter(raw)
        if isinstance(hit, LibraryFound):
            return hit if hit.elf.dynamic else "no dynamic section"
        if hit is None:
            resolved = self.view.look_up(raw)
            if resolved is not None and self.view.resolve_links(resolved.path) is not None:
                return "made for another machine"
            return LINK_LOOP if resolved is None and self._has_link_loop(raw) else None
        return hit

    def _has_link_loop(self, raw: str) -> bool:
        """Tell whether a link on the way turns in a circle, which ends every search."""
        return any(
            self.view.explain_failure(parent) == LINK_LOOP for parent in list_parents(RootPath(raw))
        )


def find_musl(
    main: LoadedObject,
    loaded: Mapping[RootPath, LoadedObject],
    view: PackageView,
    library_search: LibrarySearch,
    architecture: Architecture,
) -> MuslLoader | None:
    """Return the loader of a process that starts `main`, if it is musl's; None for glibc's.

    `loaded`: objects of the process by their real paths.
    """
    elf, arch = main.elf, architecture.triplet.partition("-")[0]
    raw = elf.interpreter or f"/lib/ld-musl-{arch}.so.1"
    hit = library_search.open_interpreter(raw) if raw.startswith("/") else None
    library = hit if isinstance(hit, LibraryFound) else None
    if not (
        _is_musl_by_name(raw, library)
        if elf.interpreter
        else _is_built_for_musl(elf, library, library_search)
    ):
        return None
    musl = MuslLoader(view, library_search, raw, arch)
    if library is not None:
        musl.loaded_object = loaded.get(library.real_path) or LoadedObject(
            library.real_path, library.resolved.path, library.elf, posixpath.dirname(raw), None
        )
    return musl


def _is_musl_by_name(raw: str, hit: LibraryFound | None) -> bool:
    """Tell musl's loader by its name, or by what a link under another name leads to."""
    names = [raw, *([hit.real_path] if hit is not None else [])]
    if any(name.rpartition("/")[2].startswith("ld-musl-") for name in names):
        return True
    return hit is not None and _LIBC_SONAME.fullmatch(hit.elf.soname) is not None


def _is_built_for_musl(elf: Elf, hit: LibraryFound | None, library_search: LibrarySearch) -> bool:
    """Tell a library for musl: by what it needs, or by a root that has no other loader."""
    if any(_LIBC_SONAME.fullmatch(name) for name in elf.needed):
        return True
    return hit is not None and "libc.so.6" not in elf.needed and not library_search.has_glibc


def _expand_rpaths(loaded: LoadedObject) -> Iterator[str]:
    """The directories of an object's RUNPATH, or else RPATH; an unknown token voids all of it."""
    text = ":".join(loaded.elf.runpath or loaded.elf.rpath)
    if "$" in _ORIGIN.sub("", text):
        return
    for directory in _ORIGIN.sub(lambda _: loaded.origin, text).split(":"):
        # one that is relative to wherever a program is started proves nothing
        if directory.startswith("/"):
            yield directory


def _as_result(
    opened: LibraryFound | str | None, raw: str, searched: tuple[str, ...]
) -> SearchResult:
    if isinstance(opened, LibraryFound):
        return SearchResult(opened, searched)
    if opened is None:
        return SearchResult(None, searched)
    return SearchResult(None, (*searched[:-1], f"{raw} ({opened})"), is_final=True)


@dataclass(eq=False, slots=True)
class Process:
    """All that one executable brings into its address space."""

    main: LoadedObject
    objects: list[LoadedObject]
    """In load order, `main` first."""
    results: list[RuleResult] = field(default_factory=list)
    """Those that no earlier process had."""
    names: dict[str, LoadedObject] = field(default_factory=dict)
    paths: dict[RootPath, LoadedObject] = field(default_factory=dict)
    is_complete: bool = True
    """Every library that is asked for is there."""
    musl: MuslLoader | None = None
    """Its loader where that is musl's; None: glibc's."""
    followed_filters: set[LoadedObject] = field(default_factory=set)
    """Those whose filtees are loaded."""

    def add(self, loaded: LoadedObject, name: str) -> None:
        """Append an object, known by `name` and by its soname from then on."""
        self.objects.append(loaded)
        self.paths[loaded.path] = loaded
        for known_name in (name, loaded.elf.soname):
            if known_name:
                self.names.setdefault(known_name, loaded)

    def move_filtee(self, requester: LoadedObject, name: str, position: int) -> int:
        """Move a loaded filtee to `position` unless it is before that; returns how many moved."""
        loaded = self.names.get(name)
        if loaded is None or loaded is requester:
            return 0
        current = self.objects.index(loaded)
        if current < position:
            return 0
        self.objects.insert(position, self.objects.pop(current))
        return 1


class LibraryRequest(NamedTuple):
    """A name that an object of a process asks its loader for: `libssl.so.3`.

    A tuple: a build makes many, and a tuple is made fastest.
    """

    process: Process
    requester: LoadedObject
    """The object whose need it is."""
    opener: LoadedObject
    """The object whose RPATH or RUNPATH is searched: the requester, or libc for what it opens."""
    name: str
    kind: NeedKind
    evidence: str


def is_program(elf: Elf) -> bool:
    """Tell a program from a library that can also be started (libc.so.6 prints its version)."""
    return bool(elf.interpreter) and (elf.pie or not elf.soname)
