"""Weights of the paths and components of a closure: own, closure and added size.

Added size is what would go if it went. Source: nix-tree; dominators after Cooper, Harvey and
Kennedy, "A Simple, Fast Dominance Algorithm" (2001).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from minbuild.errors import UsageError
from minbuild.footprint.measure import weigh_row
from minbuild.footprint.model import Footprint
from minbuild.formats.root_entry import FileType
from minbuild.paths import to_root_path
from minbuild.resolve.model import Need, NeedKind, build_adjacency

_TOP = ""


@dataclass(frozen=True, slots=True)
class NodeWeight:
    """Bytes of content."""

    own: int
    closure: int
    """Of it and all that it leads to."""
    added: int
    """Of it and all that only it leads to."""


class ClosureGraph:
    """The needs of a closure, from a node above all components."""

    def __init__(self, sizes: Mapping[str, int], needs: Iterable[Need]) -> None:
        """`sizes` is what each regular file weighs."""
        self.sizes = sizes
        pairs = [(need.needed_by, str(need.path)) for need in needs]
        tops = {by for by, _ in pairs if not by.startswith("/")}
        self._edges = build_adjacency([*pairs, *((_TOP, by) for by in tops)])
        self._order = _sort_postorder(self._edges)
        self._dominator = _find_dominators(self._edges, self._order)

    def compute_added(self) -> dict[str, int]:
        """What would go with each path and component: it and all that only it leads to."""
        added = {node: self.sizes.get(node, 0) for node in self._order}
        # who dominates stands later in postorder, so sums are complete when they are passed on
        for node in self._order:
            if node != _TOP:
                added[self._dominator[node]] += added[node]
        return added

    def compute_weights(self) -> dict[str, NodeWeight]:
        """Weigh every path and component, sorted by name."""
        added = self.compute_added()
        return {
            node: NodeWeight(
                self.sizes.get(node, 0), self.sum_sizes(self.find_reachable([node])), added[node]
            )
            for node in sorted(self._order)
            if node != _TOP
        }

    def find_removed(self, removed: Iterable[str]) -> frozenset[str]:
        """All that goes with `removed`: what no component reaches any more."""
        excluded = frozenset(removed)
        remaining = self.find_reachable([_TOP], excluded=excluded)
        return frozenset(node for node in self._order if node not in remaining)

    def find_reachable(
        self, starts: Sequence[str], *, excluded: frozenset[str] = frozenset()
    ) -> frozenset[str]:
        """All that `starts` lead to, and they themselves, on ways that avoid `excluded`."""
        seen = set(starts) - excluded
        queue = list(seen)
        while queue:
            for node in self._edges.get(queue.pop(), ()):
                if node not in seen and node not in excluded:
                    seen.add(node)
                    queue.append(node)
        return frozenset(seen)

    def sum_sizes(self, nodes: Iterable[str]) -> int:
        """Bytes of the regular files among `nodes`."""
        return sum(self.sizes.get(node, 0) for node in nodes)


def _sort_postorder(edges: Mapping[str, Sequence[str]]) -> list[str]:
    order: list[str] = []
    seen = {_TOP}
    stack = [(_TOP, iter(edges.get(_TOP, ())))]
    while stack:
        node, successors = stack[-1]
        successor = next((each for each in successors if each not in seen), None)
        if successor is None:
            order.append(node)
            stack.pop()
        else:
            seen.add(successor)
            stack.append((successor, iter(edges.get(successor, ()))))
    return order


def _find_dominators(edges: Mapping[str, Sequence[str]], order: Sequence[str]) -> dict[str, str]:
    """The immediate dominator of each node: the last that all ways from the top pass."""
    number = {node: at for at, node in enumerate(order)}
    predecessors: dict[str, list[str]] = {}
    for predecessor, paths in edges.items():
        if predecessor in number:
            for path in paths:
                predecessors.setdefault(path, []).append(predecessor)
    dominator = {_TOP: _TOP}
    changed = True
    while changed:
        changed = False
        for node in reversed(order[:-1]):
            candidate = ""
            processed = [
                predecessor for predecessor in predecessors[node] if predecessor in dominator
            ]
            candidate = processed[0]
            for predecessor in processed[1:]:
                candidate = _intersect(candidate, predecessor, dominator, number)
            if dominator.get(node) != candidate:
                dominator[node] = candidate
                changed = True
    return dominator


def _intersect(
    first: str, second: str, dominator: Mapping[str, str], number: Mapping[str, int]
) -> str:
    while first != second:
        while number[first] < number[second]:
            first = dominator[first]
        while number[second] < number[first]:
            second = dominator[second]
    return first


@dataclass(frozen=True, slots=True)
class WeighedClosure:
    """A closure, weighed."""

    image: str
    roots: tuple[str, ...]
    """Components, or the one path that was asked for."""
    children: Mapping[str, tuple[str, ...]]
    """What each needs, the largest added size first; directories are left out."""
    weights: Mapping[str, NodeWeight]


def weigh_closure(footprint: Footprint, start: str = "") -> WeighedClosure:
    """Weigh a footprint's closure; with `start`, only what that path or component leads to.

    Raises: UsageError when it is not in the image, or the footprint has no needs.
    """
    if not footprint.edges:
        raise UsageError(
            "nothing is known of who needs what here", where=footprint.name,
            fix="name a build of minbuild: a directory, its footprint.json or image, or a manifest",
        )  # fmt: skip
    graph = build_graph(footprint)
    weights = graph.compute_weights()
    root = start if start in weights or not start else str(to_root_path(start))
    if root and root not in weights:
        raise UsageError(f"{start} is not in {footprint.name}", fix="minbuild tree lists what is")
    listed_paths = {row.path for row in footprint.files if row.type != FileType.DIRECTORY}
    children: dict[str, set[str]] = {}
    for need in footprint.edges:
        if need.path in listed_paths and need.kind is not NeedKind.PARENT:
            children.setdefault(need.needed_by, set()).add(need.path)

    def sort_key(name: str) -> tuple[int, str]:
        return (-weights[name].added, name)

    roots = (
        (root,) if root else sorted({by for by in children if not by.startswith("/")}, key=sort_key)
    )
    return WeighedClosure(
        footprint.name,
        tuple(roots),
        {by: tuple(sorted(paths, key=sort_key)) for by, paths in sorted(children.items())},
        weights,
    )


def build_graph(footprint: Footprint) -> ClosureGraph:
    """The graph of a footprint's needs, weighed in bytes of content."""
    sizes = {str(row.path): row.size for row in footprint.files if row.type == FileType.FILE}
    return ClosureGraph(sizes, footprint.edges)


def find_added_bytes(footprint: Footprint) -> dict[str, int]:
    """Path or component → bytes that would go with it; empty where no needs are known."""
    if not footprint.edges:
        return {}
    sizes = {str(row.path): weigh_row(row) for row in footprint.files if row.type == "file"}
    return ClosureGraph(sizes, footprint.edges).compute_added()
