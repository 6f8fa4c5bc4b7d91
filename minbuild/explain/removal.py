"""Removal of a path or component: files that go with it, needs that break, bytes saved."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from minbuild.errors import UsageError
from minbuild.explain.weights import ClosureGraph, build_graph
from minbuild.footprint.model import Footprint
from minbuild.formats.root_entry import FileType
from minbuild.manifest.components import OWN_COMPONENT
from minbuild.paths import to_root_path
from minbuild.resolve import path_glob
from minbuild.resolve.model import Need, NeedKind
from minbuild.resolve.root_selection import KERNEL_COMPONENT

ESSENTIAL_KINDS = frozenset(
    {NeedKind.NEEDED, NeedKind.INTERP, NeedKind.SHEBANG, NeedKind.LINK,
     NeedKind.MODULE, NeedKind.SOFTDEP, NeedKind.REQUEST, NeedKind.KCONFIG}
)  # fmt: skip
"""Needs without which a file does not start, load or lead anywhere."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A host without something."""

    removed: tuple[str, ...]
    """Paths that would go, sorted: what was named, and all that nothing else leads to."""
    broken: tuple[Need, ...]
    """Needs of what would stay for what was named; sorted."""
    needed_by: tuple[str, ...]
    """Components that need a component that was named; sorted."""
    affected: tuple[str, ...]
    """Components that would stay and lead to something broken; sorted."""
    size: int
    """Bytes of content that would go."""


def simulate_removal(
    graph: ClosureGraph,
    edges: Sequence[Need],
    names: Collection[str],
    needs: Mapping[str, Sequence[str]] | None = None,
) -> Removal:
    """Take `names` (paths, components) out of a closure; `needs`: what components need of others."""
    targets = frozenset(names)
    removed = graph.find_removed(targets)
    broken = {
        need
        for need in edges
        if need.path in targets
        and need.needed_by not in removed
        and need.kind is not NeedKind.PARENT
    }
    needed_by = {
        name
        for name, others in (needs or {}).items()
        if name not in targets and targets & set(others)
    }
    paths = tuple(sorted(name for name in removed if name.startswith("/")))
    affected = _find_dependents(edges, {need.needed_by for need in broken}) - removed
    return Removal(
        paths,
        tuple(sorted(broken)),
        tuple(sorted(needed_by)),
        tuple(sorted(name for name in affected if not name.startswith("/"))),
        graph.sum_sizes(removed),
    )


def _find_dependents(edges: Sequence[Need], names: Collection[str]) -> set[str]:
    """All that lead to `names`, and they themselves."""
    dependents: dict[str, list[str]] = {}
    for need in edges:
        if need.kind is not NeedKind.PARENT:
            dependents.setdefault(need.path, []).append(need.needed_by)
    seen = set(names)
    queue = list(names)
    while queue:
        for dependent in dependents.get(queue.pop(), ()):
            if dependent not in seen:
                seen.add(dependent)
                queue.append(dependent)
    return seen


def is_manifest_component(component: str) -> bool:
    """Whether a component is what the manifest itself adds."""
    return component.partition("/")[2] == OWN_COMPONENT and not component.startswith("/")


def _list_manifest_roots(edges: Sequence[Need]) -> dict[str, list[str]]:
    """What the manifest itself asks for, by its component."""
    paths_by_component: dict[str, list[str]] = {}
    for need in edges:
        if is_manifest_component(need.needed_by) and need.kind is not NeedKind.PARENT:
            paths_by_component.setdefault(need.needed_by, []).append(need.path)
    return paths_by_component


def suggest_removals(
    graph: ClosureGraph,
    edges: Sequence[Need],
    needs: Mapping[str, Sequence[str]],
    limit: int,
) -> tuple[tuple[str, Removal], ...]:
    """Name the removals that would save most, each once: a component before its only file.

    What the kernel's own component leads to is none: a host without a kernel is no host. Nor is
    a library, loader or program that files which stay cannot start without, nor what only breaks
    things that would go with an earlier one: that is the same choice again. What the manifest keeps
    is told path by path, and as a whole where there are several.
    """
    suggestions: list[tuple[str, Removal]] = []
    seen: set[frozenset[str]] = set()
    covered: list[frozenset[str]] = []
    for name in _list_heaviest(graph, edges):
        if len(suggestions) >= limit:
            break
        removal = simulate_removal(graph, edges, {name}, needs)
        if _breaks_what_stays(removal):
            continue
        # a link and what it points to, a component and its only file, save the same
        heavy_paths = frozenset(path for path in removal.removed if graph.sizes.get(path))
        broken_names = frozenset(
            need.needed_by for need in removal.broken if not is_manifest_component(need.needed_by)
        )
        if heavy_paths not in seen and not (
            broken_names and any(broken_names <= each for each in covered)
        ):
            seen.add(heavy_paths)
            covered.append(frozenset((name, *removal.removed)))
            suggestions.append((name, removal))
    return tuple(suggestions)


def _list_heaviest(graph: ClosureGraph, edges: Sequence[Need]) -> list[str]:
    """Paths and components by what they add, the most first; none that the kernel needs.

    A component of the manifest itself with one path is that path.
    """
    kernel = {need.path for need in edges if need.needed_by == KERNEL_COMPONENT} | {
        KERNEL_COMPONENT
    }
    added = graph.compute_added()
    only_paths = {
        names[0]: own for own, names in _list_manifest_roots(edges).items() if len(names) == 1
    }
    skipped = {"", *kernel, *only_paths.values()}
    return sorted(
        (name for name in added if name not in skipped and added[name]),
        key=lambda name: (-added[name], name.startswith("/") and name not in only_paths, name),
    )


def _breaks_what_stays(removal: Removal) -> bool:
    """Whether a file that stays could no longer start."""
    return any(
        need.kind in ESSENTIAL_KINDS and need.needed_by.startswith("/") for need in removal.broken
    )


ComponentNeeds = Mapping[str, Sequence[str]]


LossTexts = Mapping[str, str]
"""Component → what a host without it has not."""


def expand_selectors(footprint: Footprint, selectors: Sequence[str]) -> tuple[str, ...]:
    """The paths and components that words stand for: a path or its glob, a component, a package.

    Raises: UsageError for a word that is nothing in the image.
    """
    selected: dict[str, None] = {}
    for selector in selectors:
        matches = _match_selector(footprint, selector)
        if not matches:
            raise UsageError(
                f"{selector} is no path, component or package of {footprint.name}",
                fix="minbuild tree lists paths and components, report --by package packages",
            )
        selected |= dict.fromkeys(matches)
    return tuple(selected)


def remove_selected(
    footprint: Footprint, selectors: Sequence[str], needs: ComponentNeeds
) -> Removal:
    """Take what words stand for out of a footprint. Raises: UsageError for an unknown word."""
    return simulate_removal(
        build_graph(footprint), footprint.edges, expand_selectors(footprint, selectors), needs
    )


def rank_removals(
    footprint: Footprint, needs: ComponentNeeds, limit: int
) -> tuple[tuple[str, Removal], ...]:
    """The removals that would save most, ranked."""
    return suggest_removals(build_graph(footprint), footprint.edges, needs, limit)


def _match_selector(footprint: Footprint, selector: str) -> tuple[str, ...]:
    if selector.startswith("/"):
        glob = str(to_root_path(selector))
        return tuple(str(row.path) for row in footprint.files if path_glob.matches(glob, row.path))
    if any(need.needed_by == selector for need in footprint.edges):
        return (selector,)
    return tuple(
        str(row.path)
        for row in footprint.files
        if row.package == selector and row.type != FileType.DIRECTORY
    )


def count_savings(footprint: Footprint, removal: Removal) -> tuple[int, int]:
    """Count the files that would go, and their packed bytes."""
    removed_paths = frozenset(removal.removed)
    rows = [row for row in footprint.files if row.path in removed_paths]
    return sum(row.type == FileType.FILE for row in rows), sum(row.packed for row in rows)


def list_consequences(name: str, removal: Removal, losses: LossTexts) -> list[str]:
    """List what a host without `name` lacks, and what would break."""
    costs = [f"{other} needs it" for other in removal.needed_by]
    if name in losses and not is_manifest_component(name):
        costs.append(f"lost: {losses[name]}")
    broken = (need.needed_by for need in removal.broken)
    dependents = list(dict.fromkeys(name for name in broken if not is_manifest_component(name)))
    if dependents:
        suffix = f" and {len(dependents) - 4} more" if len(dependents) > 4 else ""
        costs.append(f"breaks {', '.join(dependents[:4])}{suffix}")
        others = [component for component in removal.affected if component not in dependents]
        if others:
            costs.append(f"hurts {', '.join(others)}")
    return costs or ["nothing else needs it"]


def suggest_edit(name: str, footprint: Footprint) -> str:
    """Say how a manifest removes `name`."""
    keep_rules = [
        need.evidence
        for need in footprint.edges
        if need.path == name
        and is_manifest_component(need.needed_by)
        and need.kind is NeedKind.ROOT
    ]
    if keep_rules:
        return f"take {name} out of keep ({keep_rules[0]})"
    if name.startswith("/"):
        return f"drop: [{{path: {name}, because: …}}]"
    section, _, short = name.partition("/")
    if is_manifest_component(name):
        return "take out all that the manifest itself keeps"
    return (
        f"take {short} out of {section}: use, or {section}: {{use: {{remove: [{short}]}}}} "
        "where it is inherited"
    )
