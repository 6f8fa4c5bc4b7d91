"""Closure as a graph: the component that reaches each path, and the shortest way there."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence


def trace_from(
    starts: Sequence[str], edges: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Give every node the first of `starts` that reaches it, and its neighbour on that way.

    `edges` leads from who needs to what is needed, sorted. A start belongs to itself and has no
    neighbour.
    """
    owner: dict[str, str] = {}
    predecessors: dict[str, str] = {}
    for start in starts:
        if start in owner:
            continue
        owner[start] = start
        queue = deque([start])
        while queue:
            node = queue.popleft()
            for successor in edges.get(node, ()):
                if successor not in owner:
                    owner[successor] = start
                    predecessors[successor] = node
                    queue.append(successor)
    return owner, predecessors


def build_adjacency(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Edges by their start, each list sorted and without repeats."""
    neighbours: dict[str, set[str]] = {}
    for start, path in pairs:
        neighbours.setdefault(start, set()).add(path)
    return {start: sorted(paths) for start, paths in neighbours.items()}


def trace_path(node: str, predecessors: Mapping[str, str]) -> tuple[str, ...]:
    """The way from a start down to `node`, as `trace_from` found it."""
    nodes = [node]
    while nodes[-1] in predecessors:
        nodes.append(predecessors[nodes[-1]])
    return tuple(reversed(nodes))
