"""How the files of a root configure its loader: the cache, what it is made of, the preloads.

Source: ld.so(8), FILES; ldconfig(8); glibc elf/dl-cache.c, elf/rtld.c (do_preload).
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from minbuild.facts.ldconfig import canonical
from minbuild.facts.types import Elf, Listing
from minbuild.paths import RootPath, rootpath
from minbuild.resolve import pattern
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.machine import Machine

CONF = RootPath("/etc/ld.so.conf")
CACHE = RootPath("/etc/ld.so.cache")
PRELOAD = RootPath("/etc/ld.so.preload")
_CACHED = re.compile(r"(?:lib|ld-).*\.so.*")
"""Names that ldconfig takes. Source: glibc elf/ldconfig.c, search_dir."""


@dataclass(frozen=True, slots=True)
class Configured:
    """What the loader of one root reads before it looks for anything."""

    directories: tuple[str, ...] = ()
    """Those of ld.so.conf, in its order, where a cache is still to be made of them."""
    cached: Mapping[str, str] | None = None
    """Canonical name → path of the cache that is there."""
    preload: tuple[str, ...] = ()

    def holds(self, name: str) -> bool:
        """Tell whether a cache made of the directories could list `name`."""
        return bool(self.directories) and _CACHED.fullmatch(name) is not None


PLAIN = Configured()


def configured(
    catalog: Catalog, there: Collection[RootPath], machine: Machine, *, made: bool = True
) -> Configured:
    """Read the configuration among the paths that are `there`.

    `made`: a cache will be made where there is none; the loader itself reads no ld.so.conf.
    """
    if not any(path in there for path in (CONF, CACHE, PRELOAD)):
        return PLAIN
    preload = _lines(catalog, PRELOAD) if PRELOAD in there else ()
    if CACHE in there:
        return Configured(cached=_cached(_lines(catalog, CACHE), machine), preload=preload)
    found = _directories(catalog, CONF, there, set()) if made and CONF in there else ()
    return Configured(directories=tuple(dict.fromkeys(found)), preload=preload)


def cacheable(
    catalog: Catalog, there: Collection[RootPath], machine: Machine
) -> tuple[tuple[str, str], ...]:
    """List what ldconfig would write of the directories of ld.so.conf: name and path."""
    conf = configured(catalog, there, machine)
    found: dict[str, str] = {}
    for directory in conf.directories:
        walked = catalog.reach_directory(directory)
        if walked is None:
            continue
        for path in sorted(there):
            above, _, name = path.rpartition("/")
            real = catalog.real(path) if above == walked.path and conf.holds(name) else None
            facts = catalog.facts(real) if real is not None else None
            if isinstance(facts, Elf) and machine.accepts(facts) and facts.kind == "ET_DYN":
                found.setdefault(name, f"{directory}/{name}")
    return tuple(found.items())


def _lines(catalog: Catalog, path: RootPath) -> tuple[str, ...]:
    real = catalog.real(path)
    facts = catalog.facts(real) if real is not None else None
    return facts.lines if isinstance(facts, Listing) else ()


def _directories(
    catalog: Catalog, path: RootPath, there: Collection[RootPath], seen: set[RootPath]
) -> Iterator[str]:
    """Directories of one file and of those it includes, each file once."""
    if path in seen:
        return
    seen.add(path)
    for line in _lines(catalog, path):
        word, _, glob = line.partition(" ")
        if word != "include":
            yield line
            continue
        whole = rootpath(glob if glob.startswith("/") else f"/etc/{glob}")
        for other in sorted(each for each in there if pattern.matches(whole, each)):
            yield from _directories(catalog, other, there, seen)


def _cached(lines: tuple[str, ...], machine: Machine) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        flags, name, path = line.split(" ", 2)
        if int(flags) == machine.cache_flags:
            found.setdefault(canonical(name), path)
    return found
