"""Where the loader looks for a file, and what it does with what it finds there.

Source: ld.so(8), "Dynamic string tokens"; glibc elf/dl-load.c (open_path, open_verify,
_dl_dst_substitute).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from minbuild.facts.ldconfig import canonical
from minbuild.facts.types import Damaged, Elf
from minbuild.paths import RootPath
from minbuild.resolve.catalog import LOOP, Catalog, Reach
from minbuild.resolve.configured import PLAIN
from minbuild.resolve.machine import Machine
from minbuild.resolve.waivers import Waivers

C = "libc.so.6"
_ZEROED = re.compile(r"(?<![0-9])0[0-9][^/]*\Z")
_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")


@dataclass(frozen=True, slots=True)
class Hit:
    """A file that the loader would map, and how it came there."""

    raw: str
    """As the loader opens it."""
    reach: Reach
    real: RootPath
    elf: Elf
    dropped: bool
    """Left out by a waiver: named, and not followed."""


@dataclass(frozen=True, slots=True)
class Search:
    """One answer of the loader's search: a hit, or where it looked and why not."""

    hit: Hit | None
    looked: tuple[str, ...]
    final: bool = False
    """A file that is no library ended the search."""


class Searcher:
    """The directories of one architecture over one catalog; what was opened is remembered."""

    def __init__(self, catalog: Catalog, machine: Machine, waivers: Waivers) -> None:
        self._catalog = catalog
        self._machine = machine
        self._waivers = waivers
        self.configured = PLAIN
        """Set before anything is searched."""
        self._opened: dict[str, Hit | str | None] = {}
        self._default: dict[tuple[str, bool], Search] = {}

    @cached_property
    def _lib(self) -> str:
        """Where this root's glibc lies; Debian's place without one."""
        tops = ("", "/usr") if self._catalog.split else ("/usr",)
        found = (
            one
            for one in self._machine.libs
            if any(isinstance(self.open(f"{top}/{one}/{C}"), Hit) for top in tops)
        )
        return next(found, self._machine.libs[0])

    @cached_property
    def has_glibc(self) -> bool:
        """Tell whether a glibc lies where distributions install it."""
        tops = ("", "/usr") if self._catalog.split else ("/usr",)
        return any(
            isinstance(self.open(f"{top}/{one}/{C}"), Hit)
            for top in tops
            for one in self._machine.libs
        )

    @cached_property
    def _defaults(self) -> tuple[str, ...]:
        """Its system directories where /lib is /usr/lib, as in all that we make."""
        return self._machine.default_directories(self._lib)

    def usual(self, name: str, *, nodeflib: bool) -> Search:
        """Search the cache's directories, then the system's unless the object forbids them."""
        if (name, nodeflib) not in self._default:
            found = self._cached(name, nodeflib=nodeflib)
            if found.hit is None and not found.final and not nodeflib:
                system = self.first_of(self._system(), name)
                found = replace(system, looked=(*found.looked, *system.looked))
            self._default[name, nodeflib] = found
        return self._default[name, nodeflib]

    def _cached(self, name: str, *, nodeflib: bool) -> Search:
        """Search the cache that is there, or the one that will be made."""
        if self.configured.cached:
            path = self.configured.cached.get(canonical(name), "")
        else:
            path = self._cacheable(name)
        if not path:
            return Search(None, self.configured.directories if self.configured.holds(name) else ())
        if nodeflib and self._is_system(path):
            return Search(None, ())
        return self.at(path)

    def _cacheable(self, name: str) -> str:
        """The path that a cache made of the directories lists: what is no library is not in it."""
        for directory in self.configured.directories if self.configured.holds(name) else ():
            for alike in self._alike(directory, name):
                raw = f"{directory}/{alike}"
                hit = self.interpreter(raw)
                if isinstance(hit, Hit) and hit.elf.kind == "ET_DYN":
                    return raw
        return ""

    def _alike(self, directory: str, name: str) -> Sequence[str]:
        """Names that the loader takes for `name` in the cache, in the cache's order."""
        wanted = canonical(name)
        walked = self._catalog.reach_directory(directory) if self._zeroed else None
        others = self._zeroed.get((walked.path, wanted), ()) if walked is not None else ()
        return sorted({name, wanted, *others}) if others or wanted != name else (name,)

    @cached_property
    def _zeroed(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """Libraries with a number that begins with 0, by directory and canonical name."""
        found: dict[tuple[str, str], list[str]] = {}
        for files in self._catalog.files:
            for path in files.entries:
                if ".so" in path and _ZEROED.search(path):
                    directory, _, name = path.rpartition("/")
                    if canonical(name) != name:
                        found.setdefault((directory or "/", canonical(name)), []).append(name)
        return found

    def _system(self) -> tuple[str, ...]:
        directories = self._defaults
        if not self._catalog.split:
            return directories
        return tuple(each for one in directories for each in (one.removeprefix("/usr"), one))

    def _is_system(self, path: str) -> bool:
        """Tell whether a path of the cache is closed to an object with NODEFLIB: by its start."""
        merged = f"/usr{path}" if path.startswith(("/lib/", "/lib64/")) else path
        return any(merged.startswith(f"{each}/") for each in self._defaults)

    def at(self, path: str) -> Search:
        """Search one path; one that is relative to wherever a program is started proves nothing."""
        hit = self.open(path) if path.startswith("/") else None
        if isinstance(hit, str):
            return Search(None, (f"{path} ({hit})",), final=hit != LOOP)
        return Search(hit, (path,))

    def first_of(self, directories: tuple[str, ...], name: str) -> Search:
        """Search one list of directories in order; links in a circle end it, and only it."""
        for number, directory in enumerate(directories):
            raw = f"{directory}/{name}"
            hit = self.open(raw)
            if hit == LOOP:
                return Search(None, (*directories[:number], f"{raw} ({hit})"))
            if isinstance(hit, str):
                return Search(None, (*directories[:number], f"{raw} ({hit})"), final=True)
            if hit is not None:
                return Search(hit, directories[: number + 1])
        return Search(None, directories)

    def open(self, raw: str) -> Hit | str | None:
        """Open what is at `raw`: None to search on, a text for what ends the search."""
        if raw not in self._opened:
            self._opened[raw] = self._open_new(raw)
        hit = self._opened[raw]
        if isinstance(hit, Hit) and (hit.elf.kind != "ET_DYN" or hit.elf.pie):
            return "no shared object"
        if isinstance(hit, Hit) and not hit.elf.dynamic:
            return "no dynamic section"
        return hit

    def interpreter(self, raw: str) -> Hit | str | None:
        """Open a program's interpreter, which the kernel maps: it may lie at fixed addresses.

        Source: Linux fs/binfmt_elf.c, load_elf_interp; klibc's is ET_EXEC.
        """
        self.open(raw)
        return self._opened[raw]

    def _open_new(self, raw: str) -> Hit | str | None:
        reached = self._catalog.reach(raw)
        real = self._catalog.real(reached.path) if reached is not None else None
        if reached is None:
            return None
        if real is None:
            return LOOP if self._catalog.why_not(raw) == LOOP else None
        if self._catalog.is_directory(real):
            return "a directory"
        elf = self._catalog.facts(real)
        if isinstance(elf, Damaged):
            return elf.reason
        if not isinstance(elf, Elf):
            return "no ELF file"
        if not self._machine.accepts(elf):
            return None
        dropped = self._waivers.drops(reached.path) or self._waivers.drops(real)
        return Hit(raw, reached, real, elf, dropped)

    def expanded(self, directories: Sequence[str], origin: str) -> Iterator[str]:
        """Directories of an RPATH or RUNPATH, their tokens replaced."""
        for directory in directories:
            raw = self.expand(directory, origin)
            # a directory relative to wherever a program is started proves nothing
            if raw is not None and raw.startswith("/"):
                yield raw.rstrip("/")

    def expand(self, text: str, origin: str) -> str | None:
        """Replace dynamic string tokens; None when one has no value here."""
        if "$" not in text:
            return text
        values = {"ORIGIN": origin, "LIB": self._lib, "PLATFORM": self._machine.platform}
        wanted = [match[1] or match[2] for match in _TOKEN.finditer(text)]
        if not all(values[token] for token in wanted):
            return None
        return _TOKEN.sub(lambda match: values[match[1] or match[2]], text)
