"""What would go with a path or component, what would break, and what it would save."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from minbuild.resolve.roots import KERNEL
from minbuild.resolve.types import Need, NeedKind
from minbuild.resolve.weight import Graph


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


def suggest(
    graph: Graph,
    edges: Sequence[Need],
    needs: Mapping[str, Sequence[str]],
    most: int,
) -> tuple[tuple[str, Removal], ...]:
    """Name the removals that would save most, each once: a component before its only file.

    What the kernel's own component leads to is none: a host without a kernel is no host. Nor is
    what only breaks things that would go with an earlier one: that is the same choice again.
    """
    kernel = {need.path for need in edges if need.by == KERNEL} | {KERNEL}
    added = graph.added()
    heaviest = sorted(
        (name for name in added if name and name not in kernel and added[name]),
        key=lambda name: (-added[name], name.startswith("/"), name),
    )
    found: list[tuple[str, Removal]] = []
    seen: set[frozenset[str]] = set()
    covered: list[frozenset[str]] = []
    for name in heaviest:
        if len(found) >= most:
            break
        removal = remove(graph, edges, {name}, needs)
        # a link and what it points to, a component and its only file, save the same
        weighty = frozenset(path for path in removal.gone if graph.sizes.get(path))
        breaks = frozenset(need.by for need in removal.broken)
        if weighty not in seen and not (breaks and any(breaks <= each for each in covered)):
            seen.add(weighty)
            covered.append(frozenset((name, *removal.gone)))
            found.append((name, removal))
    return tuple(found)
