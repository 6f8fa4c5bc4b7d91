"""Which of several modules of one name counts, as depmod chooses.

A module is found by its name; where two files have it, the directory that stands first in the
search order wins. Without any configuration that order is "updates built-in": updates/ first, then
all else. Source: depmod.d(5); kmod, tools/depmod.c (depmod_module_is_higher_priority).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from minbuild.facts.types import Text
from minbuild.paths import RootPath
from minbuild.resolve.catalog import Catalog

PLACES = ("/etc/depmod.d", "/run/depmod.d", "/usr/local/lib/depmod.d", "/usr/lib/depmod.d")
"""Of two files of one name the first place's is read."""
BUILT_IN = "built-in"
DEFAULT = ("updates", BUILT_IN)
LEFT_OUT = ("build", "source")
"""Directories, at any depth, that depmod does not enter: links to the kernel's headers."""
_USUAL = ("updates", "extra", "kernel")
"""Of directories that the order leaves equal depmod takes whichever it reads last. Here: out-of-tree
modules before the kernel's own, as distributions that say something say."""


@dataclass(frozen=True, slots=True)
class Order:
    """The search order of one kernel's modules."""

    searches: tuple[str, ...] = DEFAULT
    overrides: frozenset[str] = frozenset()
    """DIRECTORY/MODULE below the kernel's directory, without the file's ending."""
    excluded: frozenset[str] = frozenset(LEFT_OUT)

    def has(self, short: str) -> bool:
        """Whether depmod reads a module; `short` is its path below the kernel's directory."""
        return self.excluded.isdisjoint(short.split("/")[:-1])

    def rank(self, short: str) -> tuple[bool, int, int, str]:
        """The place of a module among those of its name, the lowest wins."""
        stem = short.rpartition(".ko")[0]
        found = (
            number for number, name in enumerate(self.searches) if short.startswith(f"{name}/")
        )
        named = [*found]
        usual = next(
            (number for number, name in enumerate(_USUAL) if short.startswith(f"{name}/")), 3
        )
        return (stem not in self.overrides, named[-1] if named else self._standard, usual, short)

    @property
    def _standard(self) -> int:
        """The place of directories that no word names."""
        return self.searches.index(BUILT_IN) if BUILT_IN in self.searches else len(self.searches)


def search_order(catalog: Catalog, version: str) -> Order:
    """Read the search order of a root's depmod.d, for a kernel's release."""
    searches: list[str] = []
    overrides: set[str] = set()
    excluded: set[str] = set()
    for words in _commands(catalog):
        match words:
            case ["search", *names]:
                searches += names
            case ["override", module, kernel, directory]:
                if kernel == "*" or _matches(kernel, version):
                    overrides.add(f"{directory}/{module}")
            case ["exclude", *names]:
                excluded.update(names)
            case _:
                pass
    return Order(
        tuple(searches) or DEFAULT, frozenset(overrides), frozenset((*LEFT_OUT, *excluded))
    )


def chosen(paths: Iterable[RootPath], top: str, order: Order) -> Iterator[RootPath]:
    """The file of each module name that counts, sorted by path; `top` is the kernel's directory."""
    start = len(top) + 1
    by_name: dict[str, list[RootPath]] = {}
    for path in paths:
        if order.has(path[start:]):
            by_name.setdefault(module_name(path), []).append(path)
    yield from sorted(
        found[0] if len(found) == 1 else min(found, key=lambda path: order.rank(path[start:]))
        for found in by_name.values()
    )


def module_name(path: str) -> str:
    """The name of the module at `path`: `-` and `_` are one. Source: modprobe(8)."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def _commands(catalog: Catalog) -> Iterator[list[str]]:
    files: dict[str, RootPath] = {}
    for place in PLACES:
        for path in catalog.matching(f"{place}/*.conf"):
            files.setdefault(path.rpartition("/")[2], path)
    for _, path in sorted(files.items()):
        real = catalog.real(path)
        facts = catalog.facts(real) if real is not None else None
        lines: Sequence[str] = facts.lines if isinstance(facts, Text) else ()
        for line in lines:
            if not line.startswith("#"):
                yield line.split()


def _matches(kernel: str, version: str) -> bool:
    """Whether an override is for a kernel's release: an extended regular expression within it."""
    try:
        return re.search(kernel, version) is not None
    except re.error:
        return False
