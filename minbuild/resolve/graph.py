"""The closure as a graph: who is reached from which component, and by which shortest way."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence


def reached_from(
    starts: Sequence[str], edges: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Give every node the first of `starts` that reaches it, and its neighbour on that way.

    `edges` leads from who needs to what is needed, sorted. A start belongs to itself and has no
    neighbour.
    """
    owner: dict[str, str] = {}
    before: dict[str, str] = {}
    for start in starts:
        if start in owner:
            continue
        owner[start] = start
        todo = deque([start])
        while todo:
            node = todo.popleft()
            for following in edges.get(node, ()):
                if following not in owner:
                    owner[following] = start
                    before[following] = node
                    todo.append(following)
    return owner, before


def adjacency(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Edges by their start, each list sorted and without repeats."""
    found: dict[str, set[str]] = {}
    for by, path in pairs:
        found.setdefault(by, set()).add(path)
    return {by: sorted(paths) for by, paths in found.items()}


def way(node: str, before: Mapping[str, str]) -> tuple[str, ...]:
    """The way that `before` remembers, from its start down to `node`."""
    found = [node]
    while found[-1] in before:
        found.append(before[found[-1]])
    return tuple(reversed(found))
