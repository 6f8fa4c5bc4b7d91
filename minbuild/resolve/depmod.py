"""depmod's choice between several modules with the same name.

A module is found by its name; where two files have it, the directory that comes first in the
search order wins. Without any configuration that order is "updates built-in": updates/ first, then
all else. Source: depmod.d(5); kmod, tools/depmod.c (depmod_module_is_higher_priority).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from minbuild.facts.model import TextLines
from minbuild.paths import RootPath
from minbuild.resolve.package_view import PackageView

CONFIG_DIRECTORIES = (
    "/etc/depmod.d",
    "/run/depmod.d",
    "/usr/local/lib/depmod.d",
    "/usr/lib/depmod.d",
)
"""Of two files of one name the first place's is read."""
BUILT_IN_KEYWORD = "built-in"
DEFAULT_ORDER = ("updates", BUILT_IN_KEYWORD)
IGNORED_DIRECTORIES = ("build", "source")
"""Directories, at any depth, that depmod does not enter: links to the kernel's headers."""
_USUAL_ORDER = ("updates", "extra", "kernel")
"""Of directories that the order leaves equal depmod takes whichever it reads last. Here: out-of-tree
modules before the kernel's own, as distributions that say something say."""


@dataclass(frozen=True, slots=True)
class SearchOrder:
    """The search order of one kernel's modules."""

    searches: tuple[str, ...] = DEFAULT_ORDER
    overrides: frozenset[str] = frozenset()
    """DIRECTORY/MODULE below the kernel's directory, without the file's ending."""
    excluded: frozenset[str] = frozenset(IGNORED_DIRECTORIES)

    def includes(self, short: str) -> bool:
        """Whether depmod reads a module; `short` is its path below the kernel's directory."""
        return self.excluded.isdisjoint(short.split("/")[:-1])

    def rank_module(self, short: str) -> tuple[bool, int, int, str]:
        """The place of a module among those of its name, the lowest wins."""
        stem = short.rpartition(".ko")[0]
        positions = (
            number for number, name in enumerate(self.searches) if short.startswith(f"{name}/")
        )
        explicit = [*positions]
        usual_rank = next(
            (number for number, name in enumerate(_USUAL_ORDER) if short.startswith(f"{name}/")), 3
        )
        return (
            stem not in self.overrides,
            explicit[-1] if explicit else self._built_in_rank,
            usual_rank,
            short,
        )

    @property
    def _built_in_rank(self) -> int:
        """The place of directories that no word names."""
        return (
            self.searches.index(BUILT_IN_KEYWORD)
            if BUILT_IN_KEYWORD in self.searches
            else len(self.searches)
        )


def read_search_order(view: PackageView, version: str) -> SearchOrder:
    """Read the search order of a root's depmod.d, for a kernel's release."""
    searches: list[str] = []
    overrides: set[str] = set()
    excluded: set[str] = set()
    for command in _read_commands(view):
        match command:
            case ["search", *names]:
                searches += names
            case ["override", module, kernel, directory]:
                if kernel == "*" or _matches_version(kernel, version):
                    overrides.add(f"{directory}/{module}")
            case ["exclude", *names]:
                excluded.update(names)
            case _:
                pass
    return SearchOrder(
        tuple(searches) or DEFAULT_ORDER,
        frozenset(overrides),
        frozenset((*IGNORED_DIRECTORIES, *excluded)),
    )


def choose_modules(
    paths: Iterable[RootPath], kernel_directory: str, order: SearchOrder
) -> Iterator[RootPath]:
    """Choose the file of each module name; sorted by path."""
    start = len(kernel_directory) + 1
    by_name: dict[str, list[RootPath]] = {}
    for path in paths:
        if order.includes(path[start:]):
            by_name.setdefault(get_module_name(path), []).append(path)
    yield from sorted(
        found[0]
        if len(found) == 1
        else min(found, key=lambda path: order.rank_module(path[start:]))
        for found in by_name.values()
    )


def get_module_name(path: str) -> str:
    """The name of the module at `path`: `-` and `_` are one. Source: modprobe(8)."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def _read_commands(view: PackageView) -> Iterator[list[str]]:
    files: dict[str, RootPath] = {}
    for directory in CONFIG_DIRECTORIES:
        for path in view.find_paths(f"{directory}/*.conf"):
            files.setdefault(path.rpartition("/")[2], path)
    for _, path in sorted(files.items()):
        real = view.resolve_links(path)
        facts = view.get_facts(real) if real is not None else None
        lines: Sequence[str] = facts.lines if isinstance(facts, TextLines) else ()
        for line in lines:
            if not line.startswith("#"):
                yield line.split()


def _matches_version(kernel: str, version: str) -> bool:
    """Whether an override is for a kernel's release: an extended regular expression within it."""
    try:
        return re.search(kernel, version) is not None
    except re.error:
        return False
