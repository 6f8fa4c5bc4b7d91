"""Shapes of single values: texts, keywords, numbers, file modes and sizes; a shape reads a node and
describes itself as JSON Schema.

Decoder and schema are two methods of one object, so that they cannot drift apart. A shape that
reads a wrong value adds to `Problems` and returns None.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from minbuild.manifest.document.nodes import (
    TEMPLATE_MARK,
    LocatedName,
    LocatedText,
    Location,
    Node,
    Problems,
    ScalarKind,
    ScalarNode,
    SequenceNode,
    classify_scalar,
    parse_integer,
    suggest,
)

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


@dataclass(frozen=True, slots=True)
class Text:
    """Text, rendered with the variables unless `template` is False."""

    noun: str = "text"
    pattern: str = ""
    fix: str = ""
    template: bool = True

    def read(self, node: Node, context: ReadContext) -> str | None:
        if not isinstance(node, ScalarNode) or node.kind is not ScalarKind.TEXT:
            quoted = isinstance(node, ScalarNode) and node.kind is not ScalarKind.NULL
            fix = (
                f'put it in quotes: "{node.text}"'
                if isinstance(node, ScalarNode) and quoted
                else ""
            )
            report_wrong_type(node, self.noun, context, fix or f"write {self.noun}")
            return None
        return self.check(node, context)

    def check(self, node: ScalarNode, context: ReadContext) -> str | None:
        """Render a text and match it with the pattern; keys use this, too."""
        text: str | None = node.text
        if self.template and TEMPLATE_MARK.search(node.text):
            if context.render is None:
                return node.text
            text = context.render(node)
            if text is None:
                return None
        if self.pattern and not re.fullmatch(self.pattern, text or ""):
            fix = self.fix or f"write what matches {self.pattern}"
            context.problems.add(f"{text!r} is not {self.noun}", node.where, fix)
            return None
        return text

    def schema(self) -> Json:
        schema: Json = {"type": "string"}
        if self.pattern:
            loose = r"|\{[{%#]" if self.template else ""
            schema["pattern"] = f"^(?:{self.pattern})$" + loose
        return schema


@dataclass(frozen=True, slots=True)
class Located:
    """Text with its place."""

    text: ValueShape[str]

    def read(self, node: Node, context: ReadContext) -> LocatedName | None:
        text = self.text.read(node, context)
        return None if text is None else LocatedName(str(text), node.where)

    def schema(self) -> Json:
        return self.text.schema()


class UnrenderedText:
    """Text with its place, as written: rendered later, when its use is known."""

    def read(self, node: Node, context: ReadContext) -> LocatedText | None:
        text = Text(template=False).read(node, context)
        block = isinstance(node, ScalarNode) and node.block
        return None if text is None else LocatedText(text, node.where, block)

    def schema(self) -> Json:
        return Text().schema()


Word = TypeVar("Word", bound=StrEnum)
Held = TypeVar("Held")


@dataclass(frozen=True, slots=True)
class Keyword(Generic[Word]):
    """One of a closed set of words."""

    noun: str
    keywords: type[Word]
    synonyms: Mapping[str, str] = field(default_factory=dict)
    """Name that another tool uses → the keyword."""

    def read(self, node: Node, context: ReadContext) -> Word | None:
        text = Text(self.noun).read(node, context)
        if text is None or (context.render is None and TEMPLATE_MARK.search(text)):
            return None
        known = [str(word) for word in self.keywords]
        if text not in known:
            synonym = self.synonyms.get(text.lower())
            fix = f"write {synonym}" if synonym else suggest(text, known)
            context.problems.add(f"unknown {self.noun} {text!r}", node.where, fix)
            return None
        return self.keywords(text)

    def schema(self) -> Json:
        values = [str(word) for word in self.keywords]
        return {"anyOf": [{"enum": values}, {"type": "string", "pattern": TEMPLATE_MARK.pattern}]}


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number."""

    minimum: int = 0
    maximum: int = 2**31 - 1

    def read(self, node: Node, context: ReadContext) -> int | None:
        if not isinstance(node, ScalarNode) or node.kind is not ScalarKind.INTEGER:
            report_wrong_type(
                node, ScalarKind.INTEGER.value, context, f"write a number from {self.minimum}"
            )
            return None
        number = parse_integer(node.text) if len(node.text) < 20 else self.maximum + 1
        if not self.minimum <= number <= self.maximum:
            message = f"{name_key(node.where)} is {node.text[:20]}, out of range"
            fix = (
                f"write {self.minimum}"
                if self.minimum == self.maximum
                else f"write a number from {self.minimum} to {self.maximum}"
            )
            context.problems.add(message, node.where, fix)
            return None
        return number

    def schema(self) -> Json:
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


@dataclass(frozen=True, slots=True)
class Boolean:
    """true or false; with `only_true`, true or no key at all."""

    only_true: bool = False

    def read(self, node: Node, context: ReadContext) -> bool | None:
        expected = "true" if self.only_true else ScalarKind.BOOLEAN.value
        if not isinstance(node, ScalarNode) or node.kind is not ScalarKind.BOOLEAN:
            report_wrong_type(node, expected, context, f"write {expected}")
            return None
        value = node.text.lower() == "true"
        if self.only_true and not value:
            context.problems.add(f"{name_key(node.where)} is false", node.where, "remove it")
            return None
        return value

    def schema(self) -> Json:
        return {"const": True} if self.only_true else {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class FileMode:
    """A file mode: octal digits in quotes."""

    def read(self, node: Node, context: ReadContext) -> int | None:
        if isinstance(node, ScalarNode) and node.kind is ScalarKind.INTEGER:
            digits = node.text.removeprefix("0o").rjust(4, "0")
            example = digits if re.fullmatch(_MODE_PATTERN, digits) else "0644"
            context.problems.add(
                f"mode is the number {node.text}, which YAML readers take for octal or decimal",
                node.where,
                f'write octal digits in quotes: mode: "{example}"',
            )
            return None
        text = Text("a mode", _MODE_PATTERN, 'write octal digits in quotes: "0644"').read(
            node, context
        )
        return None if text is None or TEMPLATE_MARK.search(text) else int(text, 8)

    def schema(self) -> Json:
        return Text("a mode", _MODE_PATTERN).schema()


_MODE_PATTERN = "0?[0-7]{3,4}"
_UNIT_SIZES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
SIZE_PATTERN = f"[0-9]{{1,15}}([.][0-9]{{1,9}})? ?({'|'.join(_UNIT_SIZES)})"
"""Of a size with its unit."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes: a whole number, or text with a unit such as 17.6 MB or 64 MiB."""

    def read(self, node: Node, context: ReadContext) -> int | None:
        if isinstance(node, ScalarNode) and node.kind is ScalarKind.INTEGER:
            return Integer(0, 2**63 - 1).read(node, context)
        fix = "write bytes, or a number and one of " + " ".join(_UNIT_SIZES)
        if isinstance(node, ScalarNode) and node.kind is ScalarKind.NUMBER:
            context.problems.add(f"the size {node.text} has no unit", node.where, fix)
            return None
        text = Text("a size", SIZE_PATTERN, fix).read(node, context)
        if text is None or TEMPLATE_MARK.search(text):
            return None
        unit = text.lstrip("0123456789. ")
        number, _, decimals = text.removesuffix(unit).strip().partition(".")
        return int(int(number + decimals) * _UNIT_SIZES[unit] // 10 ** len(decimals))

    def schema(self) -> Json:
        return {"anyOf": [Integer(0, 2**63 - 1).schema(), Text("a size", SIZE_PATTERN).schema()]}


@dataclass(frozen=True, slots=True)
class TemplatedValue(Generic[Held]):
    """A number or boolean, or a template that renders to one."""

    shape: ValueShape[Held]

    def read(self, node: Node, context: ReadContext) -> Held | None:
        if (
            isinstance(node, ScalarNode)
            and node.kind is ScalarKind.TEXT
            and TEMPLATE_MARK.search(node.text)
        ):
            text = None if context.render is None else context.render(node)
            if text is None:
                return None
            node = replace(node, text=text, kind=classify_scalar(text))
        return self.shape.read(node, context)

    def schema(self) -> Json:
        return {
            "anyOf": [self.shape.schema(), {"type": "string", "pattern": TEMPLATE_MARK.pattern}]
        }
