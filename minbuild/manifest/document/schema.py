"""Protocol of a shape: it reads a node, and describes itself as JSON Schema.

Decoder and schema are two methods of one object, so that they cannot drift apart. A shape that
reads a wrong value adds to `Problems` and returns None.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from minbuild.manifest.document.location import Location
from minbuild.manifest.document.nodes import Node, ScalarKind, ScalarNode, SequenceNode
from minbuild.manifest.document.problems import Problems

T_co = TypeVar("T_co", covariant=True)
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class ReadContext:
    """Where shapes report problems, and how they render templates."""

    problems: Problems
    render: Callable[[ScalarNode], str | None] | None = None
    """None: texts with `{{` stay as they are, unchecked, until the variables are known."""


class ValueShape(Protocol[T_co]):
    """What a value may be; `Integer(1, 64)`, `ListOf(Text())`."""

    def read(self, node: Node, context: ReadContext) -> T_co | None:
        """Return the value; None if it is wrong, which adds a problem."""
        ...

    def schema(self) -> Json:
        """Return the JSON Schema of the value."""
        ...


def report_wrong_type(node: Node, expected: str, context: ReadContext, fix: str) -> None:
    """Add the problem of a node that is not of the expected type."""
    actual = "a mapping"
    if isinstance(node, SequenceNode):
        actual = "a list"
    elif isinstance(node, ScalarNode):
        actual = node.kind.value + (
            f" ({node.text})" if node.text and node.kind != ScalarKind.TEXT else ""
        )
    context.problems.add(f"{name_key(node.where)} is {actual}, not {expected}", node.where, fix)


def name_key(where: Location) -> str:
    """Return the name of a place in an error: the last part of its document path."""
    if not where.document:
        return "the document"
    match = re.search(r"[\w-]+(\[\d+\])*$", where.document)
    return match[0] if match else where.document
