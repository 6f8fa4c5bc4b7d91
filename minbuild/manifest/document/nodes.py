"""Nodes of a YAML document, each with its place, and problems of them, collected to be reported at
once.

Errors, footprints and reports carry a `Location`, so that each can name the line to change.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from minbuild.errors import ManifestError, combine


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a YAML document; prints as `host.yaml:12:3 (kernel.use[0])`."""

    file: str
    line: int
    """From 1."""
    column: int
    """From 1."""
    document: str = ""
    """Path in the document: network.use[2]."""

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}:{self.column}"
        return f"{position} ({self.document})" if self.document else position


@dataclass(frozen=True, slots=True)
class LocatedName:
    """A name in a document (a module, an applet, a kernel option) with its place."""

    text: str
    where: Location


@dataclass(frozen=True, slots=True)
class LocatedText:
    """The text of a file as a document has it, before it is rendered."""

    text: str
    where: Location
    block: bool
    """True: a `|` block, whose first line is the line after `where`."""


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


class Problems:
    """Problems of one run, each with message, place and fix; duplicates count once."""

    def __init__(self) -> None:
        self._problems: dict[tuple[str, int, int, str, str, str], None] = {}

    def add(self, message: str, where: Location | str, fix: str) -> None:
        """Add a problem: a fact, its place, and what to do."""
        position = (
            (where.file, where.line, where.column) if isinstance(where, Location) else ("", 0, 0)
        )
        self._problems[(*position, message, str(where), fix)] = None

    def __len__(self) -> int:
        return len(self._problems)

    def raise_if_any(self) -> None:
        """Raise all problems as one, if there are any.

        Raises: ManifestError.
        """
        if self._problems:
            raise combine(
                [
                    ManifestError(message, where=where, fix=fix)
                    for _file, _line, _column, message, where, fix in sorted(self._problems)
                ]
            )


def find_nearest(text: str, names: Iterable[str]) -> str:
    """Return the name most similar to `text`; "" if none is similar."""
    known = sorted(set(names))
    folded = {name.lower().replace("_", "-"): name for name in reversed(known)}
    near = difflib.get_close_matches(text.lower().replace("_", "-"), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else ""


def suggest(text: str, names: Iterable[str], *, otherwise: str = "") -> str:
    """Say what to write instead of `text`: the most similar name, `otherwise`, or the known names."""
    known = sorted(set(names))
    closest = find_nearest(text, known)
    if closest:
        return f"did you mean {closest}?"
    if otherwise or not known:
        return otherwise or "remove it"
    listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return f"write one of: {listed}"
