"""What each path and component of a closure weighs: own, closure and added size.

Added size is what would go if it went. Source: nix-tree; dominators after Cooper, Harvey and
Kennedy, "A Simple, Fast Dominance Algorithm" (2001).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from minbuild.facts.types import Kind
from minbuild.resolve.graph import adjacency
from minbuild.resolve.types import Closure, Need

_TOP = ""


@dataclass(frozen=True, slots=True)
class Weight:
    """Bytes of content."""

    own: int
    closure: int
    """Of it and all that it leads to."""
    added: int
    """Of it and all that only it leads to."""


class Graph:
    """The needs of a closure, from a top that stands above all components."""

    def __init__(self, sizes: Mapping[str, int], needs: Iterable[Need]) -> None:
        """`sizes` is what each regular file weighs."""
        self.sizes = sizes
        pairs = [(need.by, str(need.path)) for need in needs]
        tops = {by for by, _ in pairs if not by.startswith("/")}
        self._edges = adjacency([*pairs, *((_TOP, by) for by in tops)])
        self._order = _postorder(self._edges)
        self._dominator = _dominators(self._edges, self._order)

    @classmethod
    def of(cls, closure: Closure) -> "Graph":
        """The graph of a closure, weighed in bytes of content."""
        sizes = {
            str(path): one.entry.size
            for path, one in closure.chosen.items()
            if one.entry.kind is Kind.FILE
        }
        return cls(sizes, closure.needs)

    def added(self) -> dict[str, int]:
        """What would go with each path and component: it and all that only it leads to."""
        added = {node: self.sizes.get(node, 0) for node in self._order}
        # who dominates stands later in postorder, so sums are complete when they are passed on
        for node in self._order:
            if node != _TOP:
                added[self._dominator[node]] += added[node]
        return added

    def weights(self) -> dict[str, Weight]:
        """Weigh every path and component, sorted by name."""
        added = self.added()
        return {
            node: Weight(self.sizes.get(node, 0), self.size(self.reached([node])), added[node])
            for node in sorted(self._order)
            if node != _TOP
        }

    def without(self, gone: Iterable[str]) -> frozenset[str]:
        """All that would go with `gone`: what no component reaches any more."""
        out = frozenset(gone)
        left = self.reached([_TOP], without=out)
        return frozenset(node for node in self._order if node not in left)

    def reached(
        self, starts: Sequence[str], *, without: frozenset[str] = frozenset()
    ) -> frozenset[str]:
        """All that `starts` lead to, and they themselves, on ways that avoid `without`."""
        seen = set(starts) - without
        todo = list(seen)
        while todo:
            for node in self._edges.get(todo.pop(), ()):
                if node not in seen and node not in without:
                    seen.add(node)
                    todo.append(node)
        return frozenset(seen)

    def size(self, nodes: Iterable[str]) -> int:
        """Bytes of the regular files among `nodes`."""
        return sum(self.sizes.get(node, 0) for node in nodes)


def _postorder(edges: Mapping[str, Sequence[str]]) -> list[str]:
    order: list[str] = []
    seen = {_TOP}
    stack = [(_TOP, iter(edges.get(_TOP, ())))]
    while stack:
        node, rest = stack[-1]
        following = next((each for each in rest if each not in seen), None)
        if following is None:
            order.append(node)
            stack.pop()
        else:
            seen.add(following)
            stack.append((following, iter(edges.get(following, ()))))
    return order


def _dominators(edges: Mapping[str, Sequence[str]], order: Sequence[str]) -> dict[str, str]:
    """The immediate dominator of each node: the last that all ways from the top pass."""
    number = {node: at for at, node in enumerate(order)}
    before: dict[str, list[str]] = {}
    for by, paths in edges.items():
        if by in number:
            for path in paths:
                before.setdefault(path, []).append(by)
    dominator = {_TOP: _TOP}
    changed = True
    while changed:
        changed = False
        for node in reversed(order[:-1]):
            new = ""
            known = [by for by in before[node] if by in dominator]
            new = known[0]
            for by in known[1:]:
                new = _meet(new, by, dominator, number)
            if dominator.get(node) != new:
                dominator[node] = new
                changed = True
    return dominator


def _meet(one: str, other: str, dominator: Mapping[str, str], number: Mapping[str, int]) -> str:
    while one != other:
        while number[one] < number[other]:
            one = dominator[one]
        while number[other] < number[one]:
            other = dominator[other]
    return one
