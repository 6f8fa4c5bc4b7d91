"""depmod(8): its choice between modules with the same name, and the index (modules.dep and others)
that it writes.

A module is found by its name; where two files have it, the directory that comes first in the search
order wins. Without any configuration that order is "updates built-in": updates/ first, then all
else.

Source: depmod.d(5); kmod, tools/depmod.c (depmod_module_is_higher_priority).
"""

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from minbuild.facts.model import Module, TextLines
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


Modules = Mapping[RootPath, Module]


def render_modules_dep(modules: Modules, top: str) -> bytes:
    """Make modules.dep: every module with all it needs, the needed ones last.

    `top` is /usr/lib/modules/VERSION. Source: modules.dep(5); the order within a line is
    depmod's: a topological sort that takes modules no other one needs from the list's end.
    """
    by_name = {module.name: path for path, module in sorted(modules.items())}
    direct = {
        path: [by_name[name] for name in module.depends if name in by_name]
        for path, module in sorted(modules.items())
    }
    order = {path: number for number, path in enumerate(_sort_by_dependency(direct))}
    lines = []
    for path in direct:
        needed = sorted(_find_needed(path, direct) - {path}, key=order.__getitem__)
        lines.append(
            " ".join(
                [f"{_make_relative(path, top)}:", *(_make_relative(one, top) for one in needed)]
            )
        )
    return _join_lines(lines)


def render_modules_alias(modules: Modules, top: str) -> bytes:
    """Make modules.alias: which module serves a device's or a protocol's alias.

    Source: modules.alias in depmod(8), modprobe.d(5) "alias".
    """
    del top
    return _join_lines(
        ["# Aliases extracted from modules themselves."]
        + [
            f"alias {alias} {module.name}"
            for _, module in sorted(modules.items())
            for alias in module.aliases
        ]
    )


def render_modules_softdep(modules: Modules, top: str) -> bytes:
    """Make modules.softdep. Source: modprobe.d(5) "softdep"."""
    del top
    lines = ["# Soft dependencies extracted from modules themselves."]
    for _, module in sorted(modules.items()):
        fields = [f"softdep {module.name}"]
        fields += ["pre:", *module.soft_pre] if module.soft_pre else []
        fields += ["post:", *module.soft_post] if module.soft_post else []
        if len(fields) > 1:
            lines.append(" ".join(fields))
    return _join_lines(lines)


def render_modules_weakdep(modules: Modules, top: str) -> bytes:
    """Make modules.weakdep. Source: modprobe.d(5) "weakdep"."""
    del top
    return _join_lines(
        ["# Weak dependencies extracted from modules themselves."]
        + [
            " ".join(("weakdep", module.name, *module.weak))
            for _, module in sorted(modules.items())
            if module.weak
        ]
    )


INDEX_FILES: Mapping[str, Callable[[Modules, str], bytes]] = {
    "modules.alias": render_modules_alias,
    "modules.dep": render_modules_dep,
    "modules.softdep": render_modules_softdep,
    "modules.weakdep": render_modules_weakdep,
}
"""Files of the index that can be made: name → maker."""


def _sort_by_dependency(direct: Mapping[RootPath, list[RootPath]]) -> list[RootPath]:
    users = dict.fromkeys(direct, 0)
    for needed in direct.values():
        for path in needed:
            users[path] += 1
    unneeded = [path for path, count in users.items() if not count]
    ordered = []
    while unneeded:
        path = unneeded.pop()
        ordered.append(path)
        for needed_path in direct[path]:
            users[needed_path] -= 1
            if not users[needed_path]:
                unneeded.append(needed_path)
    return ordered + sorted(set(direct) - set(ordered))


def _find_needed(path: RootPath, direct: Mapping[RootPath, list[RootPath]]) -> set[RootPath]:
    seen: set[RootPath] = set()
    queue = [path]
    while queue:
        for needed in direct[queue.pop()]:
            if needed not in seen:
                seen.add(needed)
                queue.append(needed)
    return seen


def _make_relative(path: RootPath, top: str) -> str:
    return posixpath.relpath(path, top)


def _join_lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
