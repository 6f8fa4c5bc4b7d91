"""What a shape is: it reads a node, and describes itself as JSON Schema.

The decoder and the schema are two methods of one object, so that they cannot drift apart.
A shape that reads something bad tells `Problems` and gives None.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from minbuild.manifest.document.nodes import Node, ScalarKind, ScalarNode, SequenceNode
from minbuild.manifest.document.problems import Problems
from minbuild.manifest.model import Location

T_co = TypeVar("T_co", covariant=True)
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class ReadContext:
    """What every shape needs while it reads."""

    problems: Problems
    render: Callable[[ScalarNode], str | None] | None = None
    """None: texts with `{{` stay as they are, unchecked, to be read again when variables are
    known."""


class ValueShape(Protocol[T_co]):
    def read(self, node: Node, context: ReadContext) -> T_co | None:
        """The value; None when it is bad, which is then one of the problems."""
        ...

    def schema(self) -> Json:
        """The same, as JSON Schema."""
        ...


def report_wrong_type(node: Node, expected: str, context: ReadContext, fix: str) -> None:
    """Say that a node is of another kind than what is wanted."""
    actual = "a mapping"
    if isinstance(node, SequenceNode):
        actual = "a list"
    elif isinstance(node, ScalarNode):
        actual = node.kind.value + (
            f" ({node.text})" if node.text and node.kind != ScalarKind.TEXT else ""
        )
    context.problems.add(f"{name_key(node.where)} is {actual}, not {expected}", node.where, fix)


def name_key(where: Location) -> str:
    """How an error calls the place: the last part of its document path."""
    if not where.document:
        return "the document"
    match = re.search(r"[\w-]+(\[\d+\])*$", where.document)
    return match[0] if match else where.document
