"""What would go with a path or component, what would break, and what it would save."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from minbuild.manifest.components import OWN
from minbuild.resolve.roots import KERNEL
from minbuild.resolve.types import Need, NeedKind
from minbuild.resolve.weight import Graph

STARTED_WITH = frozenset(
    {NeedKind.NEEDED, NeedKind.INTERP, NeedKind.SHEBANG, NeedKind.LINK,
     NeedKind.MODULE, NeedKind.SOFTDEP}
)  # fmt: skip
"""Needs without which a file does not start, load or lead anywhere."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A host without something."""

    gone: tuple[str, ...]
    """Paths that would go, sorted: what was named, and all that nothing else leads to."""
    broken: tuple[Need, ...]
    """Needs of what would stay for what was named; sorted."""
    wanted_by: tuple[str, ...]
    """Components that need a component that was named; sorted."""
    hurt: tuple[str, ...]
    """Components that would stay and lead to something broken; sorted."""
    size: int
    """Bytes of content that would go."""


def remove(
    graph: Graph,
    edges: Sequence[Need],
    names: Collection[str],
    needs: Mapping[str, Sequence[str]] | None = None,
) -> Removal:
    """Take `names` (paths, components) out of a closure; `needs`: what components need of others."""
    named = frozenset(names)
    gone = graph.without(named)
    broken = {
        need
        for need in edges
        if need.path in named and need.by not in gone and need.kind is not NeedKind.PARENT
    }
    wanted_by = {
        name for name, others in (needs or {}).items() if name not in named and named & set(others)
    }
    paths = tuple(sorted(name for name in gone if name.startswith("/")))
    hurt = _above(edges, {need.by for need in broken}) - gone
    return Removal(
        paths,
        tuple(sorted(broken)),
        tuple(sorted(wanted_by)),
        tuple(sorted(name for name in hurt if not name.startswith("/"))),
        graph.size(gone),
    )


def _above(edges: Sequence[Need], names: Collection[str]) -> set[str]:
    """All that lead to `names`, and they themselves."""
    by: dict[str, list[str]] = {}
    for need in edges:
        if need.kind is not NeedKind.PARENT:
            by.setdefault(need.path, []).append(need.by)
    seen = set(names)
    todo = list(names)
    while todo:
        for above in by.get(todo.pop(), ()):
            if above not in seen:
                seen.add(above)
                todo.append(above)
    return seen


def is_own(component: str) -> bool:
    """Whether a component is what the manifest itself adds."""
    return component.partition("/")[2] == OWN and not component.startswith("/")


def _own_roots(edges: Sequence[Need]) -> dict[str, list[str]]:
    """What the manifest itself asks for, by its component."""
    found: dict[str, list[str]] = {}
    for need in edges:
        if is_own(need.by) and need.kind is not NeedKind.PARENT:
            found.setdefault(need.by, []).append(need.path)
    return found


def suggest(
    graph: Graph,
    edges: Sequence[Need],
    needs: Mapping[str, Sequence[str]],
    most: int,
) -> tuple[tuple[str, Removal], ...]:
    """Name the removals that would save most, each once: a component before its only file.

    What the kernel's own component leads to is none: a host without a kernel is no host. Nor is
    a library, loader or program that files which stay cannot start without, nor what only breaks
    things that would go with an earlier one: that is the same choice again. What the manifest keeps
    is told path by path, and as a whole where there are several.
    """
    kernel = {need.path for need in edges if need.by == KERNEL} | {KERNEL}
    added = graph.added()
    only = {names[0]: own for own, names in _own_roots(edges).items() if len(names) == 1}
    heaviest = sorted(
        (name for name in added if name and name not in kernel and added[name]),
        key=lambda name: (-added[name], name.startswith("/") and name not in only, name),
    )
    found: list[tuple[str, Removal]] = []
    seen: set[frozenset[str]] = set()
    covered: list[frozenset[str]] = []
    for name in heaviest:
        if len(found) >= most:
            break
        if name in only.values():
            continue  # its only path stands for it
        removal = remove(graph, edges, {name}, needs)
        if any(need.kind in STARTED_WITH and need.by.startswith("/") for need in removal.broken):
            continue
        # a link and what it points to, a component and its only file, save the same
        weighty = frozenset(path for path in removal.gone if graph.sizes.get(path))
        breaks = frozenset(need.by for need in removal.broken if not is_own(need.by))
        if weighty not in seen and not (breaks and any(breaks <= each for each in covered)):
            seen.add(weighty)
            covered.append(frozenset((name, *removal.gone)))
            found.append((name, removal))
    return tuple(found)
