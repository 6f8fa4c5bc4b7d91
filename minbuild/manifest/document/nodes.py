"""Nodes of a YAML document: scalars, sequences and mappings, each with its place."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from minbuild.manifest.document.location import Location


class ScalarKind(Enum):
    """Type of a scalar; the value is its name in an error."""

    TEXT = "text"
    INTEGER = "a whole number"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    NULL = "nothing"


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A single value: `8080`, `true`, `"a text"`."""

    where: Location
    text: str
    """As written; of quoted text, the text without quotes and escapes."""
    kind: ScalarKind
    block: bool = False
    """True: a `|` block, whose first line is the line after `where`."""


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """A list."""

    where: Location
    nodes: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class MappingEntry:
    """A value of a mapping, with the place of its key."""

    where: Location
    node: "Node"


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping; its keys are texts, each once."""

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
    """Convert a node to dict, list, str, int, float, bool or None, for comparisons."""
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
    """Convert the text of a scalar of `ScalarKind.INTEGER`: 17, 0o17, 0x17."""
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


def join_document_path(parent: str, key: str) -> str:
    """Return the document path of `key` below `parent`: network.use, files[/etc/motd]."""
    if not _PLAIN_KEY.fullmatch(key):
        return f"{parent}[{key}]"
    return f"{parent}.{key}" if parent else key


def classify_scalar(text: str) -> ScalarKind:
    """Return the type of an unquoted scalar. Source: YAML 1.2.2, 10.3.2."""
    return next(
        (kind for kind, pattern in _SCALAR_PATTERNS if pattern.fullmatch(text)), ScalarKind.TEXT
    )


TEMPLATE_MARK = re.compile(r"\{[{%#]")
"""Marks that make a text a template."""
