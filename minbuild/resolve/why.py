"""Why a path is in the closure: chains of needs from a component down to it."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from minbuild.paths import RootPath
from minbuild.resolve.types import Need

Chain = tuple[Need, ...]
"""From a component down: each need's `path` is the next one's `by`."""


def chains(needs: Iterable[Need], path: RootPath, *, limit: int | None = None) -> tuple[Chain, ...]:
    """List the chains to `path`, shortest first and without circles; no more than `limit`.

    Of chains of one length the order is that of their needs, from `path` upwards.
    """
    return tuple(islice(each_chain(needs, path), limit))


def each_chain(needs: Iterable[Need], path: RootPath) -> Iterator[Chain]:
    """Yield chains one by one: all of them can be very many."""
    by_path: dict[str, list[Need]] = {}
    for need in sorted(set(needs)):
        by_path.setdefault(need.path, []).append(need)
    height = _heights(by_path)
    if path not in height:
        return
    # a chain grows from `path` upwards; what is still to climb is known, so the first that
    # arrives at a component is the shortest
    todo: list[tuple[int, tuple[Need, ...]]] = [(height[path], ())]
    while todo:
        _, grown = heapq.heappop(todo)
        top = grown[-1].by if grown else path
        if grown and not top.startswith("/"):
            yield grown[::-1]
            continue
        walked = {need.path for need in grown}
        for need in by_path.get(top, ()):
            if need.by not in walked and need.by != path and need.by in height:
                heapq.heappush(todo, (len(grown) + 1 + height[need.by], (*grown, need)))


def _heights(by_path: Mapping[str, list[Need]]) -> dict[str, int]:
    """How many needs lie between every path and its nearest component."""
    below: dict[str, list[str]] = {}
    for path, needs in by_path.items():
        for need in needs:
            below.setdefault(need.by, []).append(path)
    height = {by: 0 for by in below if not by.startswith("/")}
    todo = deque(height)
    while todo:
        node = todo.popleft()
        for path in below.get(node, ()):
            if path not in height:
                height[path] = height[node] + 1
                todo.append(path)
    return height
