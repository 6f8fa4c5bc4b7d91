"""Nodes: what a document holds, each with its line, column and document path."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from minbuild.manifest.model import Location


class ScalarKind(Enum):
    """What a scalar is; the value is how an error calls it."""

    TEXT = "text"
    INTEGER = "a whole number"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    NULL = "nothing"


@dataclass(frozen=True, slots=True)
class ScalarNode:
    where: Location
    text: str
    """As written; for text, what it says (quotes and escapes undone)."""
    kind: ScalarKind
    block: bool = False
    """True: a `|` block, whose first line is the line after `where`."""


@dataclass(frozen=True, slots=True)
class SequenceNode:
    where: Location
    nodes: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class MappingEntry:
    where: Location
    """Where the key stands."""
    node: "Node"


@dataclass(frozen=True, slots=True)
class MappingNode:
    where: Location
    entries: Mapping[str, MappingEntry]


Node = ScalarNode | SequenceNode | MappingNode

_SCALAR_PATTERNS = (
    (ScalarKind.NULL, re.compile(r"|~|null|Null|NULL")),
    (ScalarKind.BOOLEAN, re.compile(r"true|True|TRUE|false|False|FALSE")),
    (ScalarKind.INTEGER, re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")),
    (
        ScalarKind.NUMBER,
        re.compile(
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
            r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
        ),
    ),
)
_PLAIN_KEY = re.compile(r"[\w-]+")


def to_plain(node: Node) -> object:
    """The node as dict, list, str, int, float, bool or None, for comparing and for schemas."""
    match node:
        case MappingNode():
            return {key: to_plain(entry.node) for key, entry in node.entries.items()}
        case SequenceNode():
            return [to_plain(item) for item in node.nodes]
        case ScalarNode(kind=ScalarKind.INTEGER):
            return parse_integer(node.text)
        case ScalarNode(kind=ScalarKind.NUMBER):
            return float(node.text.replace(".inf", "inf").replace(".nan", "nan").lower())
        case ScalarNode(kind=ScalarKind.BOOLEAN):
            return node.text.lower() == "true"
        case ScalarNode(kind=ScalarKind.NULL):
            return None
        case ScalarNode():
            return node.text


def parse_integer(text: str) -> int:
    """The number that a scalar of Kind.WHOLE stands for."""
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


def join_document_path(parent: str, key: str) -> str:
    """The document path of `key` below `parent`: network.use, files[/etc/motd]."""
    if not _PLAIN_KEY.fullmatch(key):
        return f"{parent}[{key}]"
    return f"{parent}.{key}" if parent else key


def classify_scalar(text: str) -> ScalarKind:
    """What a plain scalar is."""
    return next(
        (kind for kind, pattern in _SCALAR_PATTERNS if pattern.fullmatch(text)), ScalarKind.TEXT
    )


TEMPLATE_MARK = re.compile(r"\{[{%#]")
"""What makes a text a template."""
