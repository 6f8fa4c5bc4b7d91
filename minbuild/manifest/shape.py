"""What a shape is: it reads a node, and describes itself as JSON Schema.

The decoder and the schema are two methods of one object, so that they cannot drift apart.
A shape that reads something bad tells `Problems` and gives None.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from minbuild.manifest.nodes import Items, Kind, Node, Scalar
from minbuild.manifest.problems import Problems
from minbuild.manifest.types import Where

T_co = TypeVar("T_co", covariant=True)
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Reading:
    """What every shape needs while it reads."""

    problems: Problems
    render: Callable[[Scalar], str | None] | None = None
    """None: texts with `{{` stay as they are, unchecked, to be read again when variables are
    known."""


class Shape(Protocol[T_co]):
    def read(self, node: Node, reading: Reading) -> T_co | None:
        """The value; None when it is bad, which is then one of the problems."""
        ...

    def schema(self) -> Json:
        """The same, as JSON Schema."""
        ...


def refuse(node: Node, wanted: str, reading: Reading, fix: str) -> None:
    """Say that a node is of another kind than what is wanted."""
    found = "a mapping"
    if isinstance(node, Items):
        found = "a list"
    elif isinstance(node, Scalar):
        found = node.kind.value + (
            f" ({node.text})" if node.text and node.kind != Kind.TEXT else ""
        )
    reading.problems.add(f"{last(node.where)} is {found}, not {wanted}", node.where, fix)


def last(where: Where) -> str:
    """How an error calls the place: the last part of its document path."""
    if not where.document:
        return "the document"
    last = re.search(r"[\w-]+(\[\d+\])*$", where.document)
    return last[0] if last else where.document
