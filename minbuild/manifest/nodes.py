"""Nodes: what a document holds, each with its line, column and document path."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from minbuild.manifest.types import Where


class Kind(Enum):
    """What a scalar is; the value is how an error calls it."""

    TEXT = "text"
    WHOLE = "a whole number"
    NUMBER = "a number"
    FLAG = "true or false"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Scalar:
    where: Where
    text: str
    """As written; for text, what it says (quotes and escapes undone)."""
    kind: Kind
    block: bool = False
    """True: a `|` block, whose first line is the line after `where`."""


@dataclass(frozen=True, slots=True)
class Items:
    where: Where
    nodes: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Entry:
    where: Where
    """Where the key stands."""
    node: "Node"


@dataclass(frozen=True, slots=True)
class Entries:
    where: Where
    entries: Mapping[str, Entry]


Node = Scalar | Items | Entries

_KINDS = (
    (Kind.NOTHING, re.compile(r"|~|null|Null|NULL")),
    (Kind.FLAG, re.compile(r"true|True|TRUE|false|False|FALSE")),
    (Kind.WHOLE, re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")),
    (
        Kind.NUMBER,
        re.compile(
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
            r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
        ),
    ),
)
_PLAIN_KEY = re.compile(r"[\w-]+")


def plain(node: Node) -> object:
    """The node as dict, list, str, int, float, bool or None, for comparing and for schemas."""
    match node:
        case Entries():
            return {key: plain(entry.node) for key, entry in node.entries.items()}
        case Items():
            return [plain(item) for item in node.nodes]
        case Scalar(kind=Kind.WHOLE):
            return whole(node.text)
        case Scalar(kind=Kind.NUMBER):
            return float(node.text.replace(".inf", "inf").replace(".nan", "nan").lower())
        case Scalar(kind=Kind.FLAG):
            return node.text.lower() == "true"
        case Scalar(kind=Kind.NOTHING):
            return None
        case Scalar():
            return node.text


def whole(text: str) -> int:
    """The number that a scalar of Kind.WHOLE stands for."""
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


def joined(parent: str, key: str) -> str:
    """The document path of `key` below `parent`: network.use, files[/etc/motd]."""
    if not _PLAIN_KEY.fullmatch(key):
        return f"{parent}[{key}]"
    return f"{parent}.{key}" if parent else key


def kind_of(text: str) -> Kind:
    """What a plain scalar is."""
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(text)), Kind.TEXT)
