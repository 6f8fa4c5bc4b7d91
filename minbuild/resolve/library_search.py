"""Library search of glibc's loader: RPATH, RUNPATH, cache and system directories of one root.

Source: ld.so(8), "Dynamic string tokens"; glibc elf/dl-load.c (open_path, open_verify,
_dl_dst_substitute).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from minbuild.facts.config_files import canonicalise_name
from minbuild.facts.model import Elf, Malformed
from minbuild.paths import RootPath
from minbuild.resolve.builtin_tables import Architecture
from minbuild.resolve.loader_config import DEFAULT_CONFIG
from minbuild.resolve.model import LoadedObject, ResolvedPath
from minbuild.resolve.package_view import LINK_LOOP, PackageView
from minbuild.resolve.policy import Waivers

LIBC = "libc.so.6"
_LEADING_ZERO = re.compile(r"(?<![0-9])0[0-9][^/]*\Z")
_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")


@dataclass(frozen=True, slots=True)
class LibraryFound:
    """A file that the loader would map, and the path by which it was opened."""

    raw: str
    """As the loader opens it."""
    resolved: ResolvedPath
    real_path: RootPath
    elf: Elf
    is_dropped: bool
    """Left out by a waiver: named, and not followed."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Result of one search: the library, or the directories searched and why it is not there."""

    hit: LibraryFound | None
    searched: tuple[str, ...]
    is_final: bool = False
    """A file that is no library ended the search."""


class LibrarySearch:
    """Searches of one architecture over the files of one `PackageView`; each file is opened once."""

    def __init__(self, view: PackageView, architecture: Architecture, waivers: Waivers) -> None:
        self._view = view
        self._architecture = architecture
        self._waivers = waivers
        self.config = DEFAULT_CONFIG
        """Set before anything is searched."""
        self._opened: dict[str, LibraryFound | str | None] = {}
        self._default_results: dict[tuple[str, bool], SearchResult] = {}

    @cached_property
    def _library_directory(self) -> str:
        """The directory of this root's glibc; Debian's without one."""
        tops = ("", "/usr") if self._view.has_split_lib else ("/usr",)
        libraries = (
            one
            for one in self._architecture.library_directories
            if any(
                isinstance(self.open_library(f"{top}/{one}/{LIBC}"), LibraryFound) for top in tops
            )
        )
        return next(libraries, self._architecture.library_directories[0])

    @cached_property
    def has_glibc(self) -> bool:
        """Tell whether a glibc is where distributions install it."""
        tops = ("", "/usr") if self._view.has_split_lib else ("/usr",)
        return any(
            isinstance(self.open_library(f"{top}/{one}/{LIBC}"), LibraryFound)
            for top in tops
            for one in self._architecture.library_directories
        )

    @cached_property
    def _system_directories(self) -> tuple[str, ...]:
        """Its system directories where /lib is /usr/lib, as in all that we make."""
        return self._architecture.list_default_directories(self._library_directory)

    def search(self, opener: LoadedObject, name: str) -> SearchResult:
        """Find the file for `name` as `opener` asks for it."""
        if "/" in name:
            raw = self.expand_tokens(name, opener.origin)
            return self.search_path(raw) if raw is not None else SearchResult(None, (name,))
        searched: tuple[str, ...] = ()
        for directories in self._list_rpaths(opener):
            result = self.search_directories(directories, name)
            if result.hit is not None or result.is_final:
                return result
            searched += result.searched
        default_result = self.search_defaults(name, nodeflib=opener.elf.nodeflib)
        return (
            replace(default_result, searched=searched + default_result.searched)
            if searched
            else default_result
        )

    def _list_rpaths(self, opener: LoadedObject) -> tuple[tuple[str, ...], ...]:
        """RPATHs up the chain of loaders, or the object's own RUNPATH."""
        if opener.elf.runpath:
            return (tuple(self.expand_paths(opener.elf.runpath, opener.origin)),)
        return opener.inherited_rpaths

    def inherit_rpaths(self, loaded: LoadedObject) -> tuple[tuple[str, ...], ...]:
        """RPATHs that apply to what an object asks for: its own first, then its loaders'."""
        # of an object that has both, RPATH is void. Source: glibc elf/get-dynamic-info.h
        inherited = loaded.loaded_by.inherited_rpaths if loaded.loaded_by else ()
        if not loaded.elf.rpath or loaded.elf.runpath:
            return inherited
        return (
            tuple(self.expand_paths(loaded.elf.rpath, loaded.origin)),
            *inherited,
        )

    def search_defaults(self, name: str, *, nodeflib: bool) -> SearchResult:
        """Search the cache's directories, then the system's unless the object forbids them."""
        if (name, nodeflib) not in self._default_results:
            result = self._search_cache(name, nodeflib=nodeflib)
            if result.hit is None and not result.is_final and not nodeflib:
                system_result = self.search_directories(self._list_system_directories(), name)
                result = replace(
                    system_result, searched=(*result.searched, *system_result.searched)
                )
            self._default_results[name, nodeflib] = result
        return self._default_results[name, nodeflib]

    def _search_cache(self, name: str, *, nodeflib: bool) -> SearchResult:
        """Search the cache that is there, or the one that will be made."""
        if self.config.cache:
            path = self.config.cache.get(canonicalise_name(name), "")
        else:
            path = self._find_cacheable(name)
        if not path:
            return SearchResult(
                None, self.config.directories if self.config.can_cache(name) else ()
            )
        if nodeflib and self._is_system_path(path):
            return SearchResult(None, ())
        return self.search_path(path)

    def _find_cacheable(self, name: str) -> str:
        """The path that a cache made of the directories lists: what is no library is not in it."""
        for directory in self.config.directories if self.config.can_cache(name) else ():
            for file_name in self._list_equivalent_names(directory, name):
                raw = f"{directory}/{file_name}"
                hit = self.open_interpreter(raw)
                if isinstance(hit, LibraryFound) and hit.elf.kind == "ET_DYN":
                    return raw
        return ""

    def _list_equivalent_names(self, directory: str, name: str) -> Sequence[str]:
        """Names that the loader takes for `name` in the cache, in the cache's order."""
        canonical_name = canonicalise_name(name)
        walked = (
            self._view.look_up_directory(directory) if self._libraries_with_leading_zero else None
        )
        others = (
            self._libraries_with_leading_zero.get((walked.path, canonical_name), ())
            if walked is not None
            else ()
        )
        return (
            sorted({name, canonical_name, *others}) if others or canonical_name != name else (name,)
        )

    @cached_property
    def _libraries_with_leading_zero(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """Libraries with a number that begins with 0, by directory and canonical name."""
        names_by_directory: dict[tuple[str, str], list[str]] = {}
        for files in self._view.packages:
            for path in files.entries:
                if ".so" in path and _LEADING_ZERO.search(path):
                    directory, _, name = path.rpartition("/")
                    if canonicalise_name(name) != name:
                        names_by_directory.setdefault(
                            (directory or "/", canonicalise_name(name)), []
                        ).append(name)
        return names_by_directory

    def _list_system_directories(self) -> tuple[str, ...]:
        directories = self._system_directories
        if not self._view.has_split_lib:
            return directories
        return tuple(each for one in directories for each in (one.removeprefix("/usr"), one))

    def _is_system_path(self, path: str) -> bool:
        """Tell whether a path of the cache is closed to an object with NODEFLIB: by its start."""
        merged = f"/usr{path}" if path.startswith(("/lib/", "/lib64/")) else path
        return any(merged.startswith(f"{each}/") for each in self._system_directories)

    def search_path(self, path: str) -> SearchResult:
        """Search one path; one that is relative to wherever a program is started proves nothing."""
        hit = self.open_library(path) if path.startswith("/") else None
        if isinstance(hit, str):
            return SearchResult(None, (f"{path} ({hit})",), is_final=hit != LINK_LOOP)
        return SearchResult(hit, (path,))

    def search_directories(self, directories: tuple[str, ...], name: str) -> SearchResult:
        """Search one list of directories in order; links in a circle end it, and only it."""
        for number, directory in enumerate(directories):
            raw = f"{directory}/{name}"
            hit = self.open_library(raw)
            if hit == LINK_LOOP:
                return SearchResult(None, (*directories[:number], f"{raw} ({hit})"))
            if isinstance(hit, str):
                return SearchResult(None, (*directories[:number], f"{raw} ({hit})"), is_final=True)
            if hit is not None:
                return SearchResult(hit, directories[: number + 1])
        return SearchResult(None, directories)

    def open_library(self, raw: str) -> LibraryFound | str | None:
        """Open what is at `raw`: None to search on, a text for what ends the search."""
        if raw not in self._opened:
            self._opened[raw] = self._open_uncached(raw)
        hit = self._opened[raw]
        if isinstance(hit, LibraryFound) and (hit.elf.kind != "ET_DYN" or hit.elf.pie):
            return "no shared object"
        if isinstance(hit, LibraryFound) and not hit.elf.dynamic:
            return "no dynamic section"
        return hit

    def open_interpreter(self, raw: str) -> LibraryFound | str | None:
        """Open a program's interpreter, which the kernel maps: it may lie at fixed addresses.

        Source: Linux fs/binfmt_elf.c, load_elf_interp; klibc's is ET_EXEC.
        """
        self.open_library(raw)
        return self._opened[raw]

    def _open_uncached(self, raw: str) -> LibraryFound | str | None:
        resolved = self._view.look_up(raw)
        real = self._view.resolve_links(resolved.path) if resolved is not None else None
        if resolved is None:
            return None
        if real is None:
            return LINK_LOOP if self._view.explain_failure(raw) == LINK_LOOP else None
        if self._view.is_directory(real):
            return "a directory"
        elf = self._view.get_facts(real)
        if isinstance(elf, Malformed):
            return elf.reason
        if not isinstance(elf, Elf):
            return "no ELF file"
        if not self._architecture.accepts(elf):
            return None
        is_dropped = self._waivers.drops(resolved.path) or self._waivers.drops(real)
        return LibraryFound(raw, resolved, real, elf, is_dropped)

    def expand_paths(self, directories: Sequence[str], origin: str) -> Iterator[str]:
        """Directories of an RPATH or RUNPATH, their tokens replaced."""
        for directory in directories:
            raw = self.expand_tokens(directory, origin)
            # a directory relative to wherever a program is started proves nothing
            if raw is not None and raw.startswith("/"):
                yield raw.rstrip("/")

    def expand_tokens(self, text: str, origin: str) -> str | None:
        """Replace dynamic string tokens; None when one has no value here."""
        if "$" not in text:
            return text
        values = {
            "ORIGIN": origin,
            "LIB": self._library_directory,
            "PLATFORM": self._architecture.platform,
        }
        tokens = [match[1] or match[2] for match in _TOKEN.finditer(text)]
        if not all(values[token] for token in tokens):
            return None
        return _TOKEN.sub(lambda match: values[match[1] or match[2]], text)
