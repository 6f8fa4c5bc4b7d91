"""Closure as a tree with own, closure and added sizes."""

from collections.abc import Iterator
from dataclasses import asdict

from minbuild.escape import dump_json
from minbuild.explain.weights import WeighedClosure
from minbuild.report.layout import align_columns, escape_line, format_size

SCHEMA = "minbuild.tree/1"
SEEN_ABOVE = " (above)"


def render_tree(closure: WeighedClosure, *, depth: int = 0, width: int = 0) -> str:
    """Print the tree; a path that was unfolded above is not unfolded again. `depth` 0: all.

    In a terminal of `width` columns long paths are shortened.
    """
    rows = [["own", "closure", "added", ""]]
    for line, name in _walk_tree(closure, depth):
        weight = closure.weights[name]
        rows.append(
            [format_size(weight.own), format_size(weight.closure), format_size(weight.added), line]
        )
    return "\n".join(align_columns(rows, frozenset({3}), width=width, shrinkable=3)) + "\n"


def render_tree_json(closure: WeighedClosure) -> str:
    """Print every path and component with its sizes and what it needs, as a JSON object."""
    nodes = [
        {"name": name, **asdict(weight), "needs": list(closure.children.get(name, ()))}
        for name, weight in closure.weights.items()
    ]
    document = {
        "schema": SCHEMA,
        "image": closure.image,
        "tops": list(closure.roots),
        "nodes": nodes,
    }
    return dump_json(document)


def _walk_tree(closure: WeighedClosure, depth: int) -> Iterator[tuple[str, str]]:
    """Each line of the tree and the path or component in it."""
    seen: set[str] = set()
    # last first; each with what its line begins with, and what those of its children do
    stack = [(name, "", "") for name in reversed(closure.roots)]
    while stack:
        name, mark, margin = stack.pop()
        children = closure.children.get(name, ())
        is_repeated = name in seen and bool(children)
        yield f"{mark}{escape_line(name)}{SEEN_ABOVE if is_repeated else ''}", name
        seen.add(name)
        level = len(margin) // 3 + 1
        if is_repeated or (depth and level >= depth):
            continue
        for child in reversed(children):
            is_last = child == children[-1]
            stack.append((child, margin + ("└─ " if is_last else "├─ "), margin + ("   " if is_last else "│  ")))  # fmt: skip
