"""Configuration of glibc's loader in one root: ld.so.conf, ld.so.cache and ld.so.preload.

Source: ld.so(8), "FILES"; ldconfig(8).
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from minbuild.facts.config_files import canonicalise_name
from minbuild.facts.model import Elf, LoaderConfigLines
from minbuild.paths import RootPath, to_root_path
from minbuild.resolve import path_glob
from minbuild.resolve.builtin_tables import Architecture
from minbuild.resolve.package_view import PackageView

LD_SO_CONF = RootPath("/etc/ld.so.conf")
LD_SO_CACHE = RootPath("/etc/ld.so.cache")
LD_SO_PRELOAD = RootPath("/etc/ld.so.preload")
_CACHEABLE_NAME = re.compile(r"(?:lib|ld-).*\.so.*")
"""Names that ldconfig takes. Source: glibc elf/ldconfig.c, search_dir."""


@dataclass(frozen=True, slots=True)
class LoaderConfig:
    """Configuration that the loader of one root reads before its first search."""

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
    """Read the configuration from those of its files that are in `paths`.

    `with_cache`: a cache will be made where there is none; the loader itself reads no ld.so.conf.
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
