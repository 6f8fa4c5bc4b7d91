"""Where the loader looks for a file, and what it does with what it finds there.

Source: ld.so(8), "Dynamic string tokens"; glibc elf/dl-load.c (open_path, open_verify,
_dl_dst_substitute).
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from minbuild.facts.ldconfig import canonicalise_name
from minbuild.facts.model import Elf, LoaderConfigLines, Malformed
from minbuild.paths import RootPath, to_root_path
from minbuild.resolve import path_glob
from minbuild.resolve.arch import Architecture
from minbuild.resolve.package_view import LINK_LOOP, PackageView, ResolvedPath
from minbuild.resolve.waivers import Waivers

LD_SO_CONF = RootPath("/etc/ld.so.conf")
LD_SO_CACHE = RootPath("/etc/ld.so.cache")
LD_SO_PRELOAD = RootPath("/etc/ld.so.preload")
_CACHEABLE_NAME = re.compile(r"(?:lib|ld-).*\.so.*")
"""Names that ldconfig takes. Source: glibc elf/ldconfig.c, search_dir."""


@dataclass(frozen=True, slots=True)
class LoaderConfig:
    """What the loader of one root reads before it looks for anything."""

    directories: tuple[str, ...] = ()
    """Those of ld.so.conf, in its order, where a cache is still to be made of them."""
    cache: Mapping[str, str] | None = None
    """Canonical name → path of the cache that is there."""
    preload: tuple[str, ...] = ()

    def can_cache(self, name: str) -> bool:
        """Tell whether a cache made of the directories could list `name`."""
        return bool(self.directories) and _CACHEABLE_NAME.fullmatch(name) is not None


DEFAULT_CONFIG = LoaderConfig()


def read_loader_config(
    view: PackageView,
    paths: Collection[RootPath],
    architecture: Architecture,
    *,
    with_cache: bool = True,
) -> LoaderConfig:
    """Read the configuration among the paths that are `there`.

    `made`: a cache will be made where there is none; the loader itself reads no ld.so.conf.
    """
    if not any(path in paths for path in (LD_SO_CONF, LD_SO_CACHE, LD_SO_PRELOAD)):
        return DEFAULT_CONFIG
    preload = _read_lines(view, LD_SO_PRELOAD) if LD_SO_PRELOAD in paths else ()
    if LD_SO_CACHE in paths:
        return LoaderConfig(
            cache=_parse_cache(_read_lines(view, LD_SO_CACHE), architecture), preload=preload
        )
    directories = (
        _read_directories(view, LD_SO_CONF, paths, set())
        if with_cache and LD_SO_CONF in paths
        else ()
    )
    return LoaderConfig(directories=tuple(dict.fromkeys(directories)), preload=preload)


def list_cacheable(
    view: PackageView, paths: Collection[RootPath], architecture: Architecture
) -> tuple[tuple[str, str], ...]:
    """List what ldconfig would write of the directories of ld.so.conf: name and path."""
    config = read_loader_config(view, paths, architecture)
    cache: dict[str, str] = {}
    for directory in config.directories:
        walked = view.look_up_directory(directory)
        if walked is None:
            continue
        for path in sorted(paths):
            parent, _, name = path.rpartition("/")
            real = (
                view.resolve_links(path)
                if parent == walked.path and config.can_cache(name)
                else None
            )
            facts = view.get_facts(real) if real is not None else None
            if isinstance(facts, Elf) and architecture.accepts(facts) and facts.kind == "ET_DYN":
                cache.setdefault(name, f"{directory}/{name}")
    return tuple(cache.items())


def _read_lines(view: PackageView, path: RootPath) -> tuple[str, ...]:
    real = view.resolve_links(path)
    facts = view.get_facts(real) if real is not None else None
    return facts.lines if isinstance(facts, LoaderConfigLines) else ()


def _read_directories(
    view: PackageView, path: RootPath, paths: Collection[RootPath], seen: set[RootPath]
) -> Iterator[str]:
    """Directories of one file and of those it includes, each file once."""
    if path in seen:
        return
    seen.add(path)
    for line in _read_lines(view, path):
        word, _, glob = line.partition(" ")
        if word != "include":
            yield line
            continue
        include_glob = to_root_path(glob if glob.startswith("/") else f"/etc/{glob}")
        for included in sorted(each for each in paths if path_glob.matches(include_glob, each)):
            yield from _read_directories(view, included, paths, seen)


def _parse_cache(lines: tuple[str, ...], architecture: Architecture) -> Mapping[str, str]:
    cache: dict[str, str] = {}
    for line in lines:
        flags, name, path = line.split(" ", 2)
        if int(flags) == architecture.cache_flags:
            cache.setdefault(canonicalise_name(name), path)
    return cache


LIBC = "libc.so.6"
_LEADING_ZERO = re.compile(r"(?<![0-9])0[0-9][^/]*\Z")
_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")


@dataclass(frozen=True, slots=True)
class LibraryFound:
    """A file that the loader would map, and how it came there."""

    raw: str
    """As the loader opens it."""
    resolved: ResolvedPath
    real_path: RootPath
    elf: Elf
    is_dropped: bool
    """Left out by a waiver: named, and not followed."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One answer of the loader's search: a hit, or where it looked and why not."""

    hit: LibraryFound | None
    searched: tuple[str, ...]
    is_final: bool = False
    """A file that is no library ended the search."""


class LibrarySearch:
    """The directories of one architecture over one catalog; what was opened is remembered."""

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
        """Where this root's glibc lies; Debian's place without one."""
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
        """Tell whether a glibc lies where distributions install it."""
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
