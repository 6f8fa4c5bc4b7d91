"""The closure as a tree: what needs what, with own, closure and added size."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from minbuild.errors import UsageError
from minbuild.escape import dump
from minbuild.facts.types import Kind
from minbuild.footprint.types import Footprint
from minbuild.paths import rootpath
from minbuild.report.fit import columns
from minbuild.report.units import printable, size
from minbuild.resolve.types import NeedKind
from minbuild.resolve.weight import Graph, Weight

SCHEMA = "minbuild.tree/1"
AGAIN = " (above)"


@dataclass(frozen=True, slots=True)
class Grown:
    """A closure, weighed."""

    image: str
    tops: tuple[str, ...]
    """Components, or the one path that was asked for."""
    below: Mapping[str, tuple[str, ...]]
    """What each needs, the largest added size first; directories are left out."""
    weights: Mapping[str, Weight]


def grow(footprint: Footprint, start: str = "") -> Grown:
    """Weigh a footprint's closure; with `start`, only what that path or component leads to.

    Raises: UsageError when it is not in the image, or the footprint has no needs.
    """
    if not footprint.edges:
        raise UsageError(
            "nothing is known of who needs what here", where=footprint.name,
            fix="name a build of minbuild: a directory, its footprint.json or image, or a manifest",
        )  # fmt: skip
    graph = weighed(footprint)
    weights = graph.weights()
    top = start if start in weights or not start else str(rootpath(start))
    if top and top not in weights:
        raise UsageError(f"{start} is not in {footprint.name}", fix="minbuild tree lists what is")
    plain = {row.path for row in footprint.files if row.type != Kind.DIRECTORY}
    below: dict[str, set[str]] = {}
    for need in footprint.edges:
        if need.path in plain and need.kind is not NeedKind.PARENT:
            below.setdefault(need.by, set()).add(need.path)

    def order(name: str) -> tuple[int, str]:
        return (-weights[name].added, name)

    tops = (top,) if top else sorted({by for by in below if not by.startswith("/")}, key=order)
    return Grown(
        footprint.name,
        tuple(tops),
        {by: tuple(sorted(paths, key=order)) for by, paths in sorted(below.items())},
        weights,
    )


def weighed(footprint: Footprint) -> Graph:
    """The graph of a footprint's needs, weighed in bytes of content."""
    sizes = {str(row.path): row.size for row in footprint.files if row.type == Kind.FILE}
    return Graph(sizes, footprint.edges)


def as_text(grown: Grown, *, depth: int = 0, width: int = 0) -> str:
    """Print the tree; what stands further up already is not unfolded again. `depth` 0: all.

    In a terminal of `width` columns long paths are shortened.
    """
    rows = [["own", "closure", "added", ""]]
    for line, name in _lines(grown, depth):
        weight = grown.weights[name]
        rows.append([size(weight.own), size(weight.closure), size(weight.added), line])
    return "\n".join(columns(rows, frozenset({3}), width=width, gives=3)) + "\n"


def as_json(grown: Grown) -> str:
    """Print every path and component with its sizes and what it needs, as a JSON object."""
    nodes = [
        {"name": name, **asdict(weight), "needs": list(grown.below.get(name, ()))}
        for name, weight in grown.weights.items()
    ]
    document = {"schema": SCHEMA, "image": grown.image, "tops": list(grown.tops), "nodes": nodes}
    return dump(document)


def _lines(grown: Grown, depth: int) -> Iterator[tuple[str, str]]:
    """Each line of the tree and whom it is about."""
    shown: set[str] = set()
    # last first; each with what its line begins with, and what those of its children do
    todo = [(name, "", "") for name in reversed(grown.tops)]
    while todo:
        name, mark, margin = todo.pop()
        children = grown.below.get(name, ())
        again = name in shown and bool(children)
        yield f"{mark}{printable(name)}{AGAIN if again else ''}", name
        shown.add(name)
        level = len(margin) // 3 + 1
        if again or (depth and level >= depth):
            continue
        for child in reversed(children):
            last = child == children[-1]
            todo.append((child, margin + ("└─ " if last else "├─ "), margin + ("   " if last else "│  ")))  # fmt: skip
