"""Shapes of single values: texts, words of a closed set, numbers, modes, sizes, variables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Generic, TypeVar

from minbuild.manifest.nodes import Items, Kind, Node, Scalar, kind_of, whole
from minbuild.manifest.problems import suggestion
from minbuild.manifest.shape import Json, Reading, Shape, last, refuse
from minbuild.manifest.template import MARKS
from minbuild.manifest.types import Content, Name, Value


@dataclass(frozen=True, slots=True)
class Text:
    """Text, rendered with the variables unless `template` is False."""

    what: str = "text"
    pattern: str = ""
    fix: str = ""
    template: bool = True

    def read(self, node: Node, reading: Reading) -> str | None:
        if not isinstance(node, Scalar) or node.kind is not Kind.TEXT:
            quoted = isinstance(node, Scalar) and node.kind is not Kind.NOTHING
            fix = f'put it in quotes: "{node.text}"' if isinstance(node, Scalar) and quoted else ""
            refuse(node, self.what, reading, fix or f"write {self.what}")
            return None
        return self.check(node, reading)

    def check(self, node: Scalar, reading: Reading) -> str | None:
        """Render and compare with the pattern; also for keys."""
        text: str | None = node.text
        if self.template and MARKS.search(node.text):
            if reading.render is None:
                return node.text
            text = reading.render(node)
            if text is None:
                return None
        if self.pattern and not re.fullmatch(self.pattern, text or ""):
            fix = self.fix or f"write what matches {self.pattern}"
            reading.problems.add(f"{text!r} is not {self.what}", node.where, fix)
            return None
        return text

    def schema(self) -> Json:
        schema: Json = {"type": "string"}
        if self.pattern:
            loose = r"|\{[{%#]" if self.template else ""
            schema["pattern"] = f"^(?:{self.pattern})$" + loose
        return schema


@dataclass(frozen=True, slots=True)
class Named:
    """Text together with its place."""

    text: Shape[str]

    def read(self, node: Node, reading: Reading) -> Name | None:
        text = self.text.read(node, reading)
        return None if text is None else Name(str(text), node.where)

    def schema(self) -> Json:
        return self.text.schema()


class Raw:
    """Text as it is written, with its place: it is rendered when its use is known."""

    def read(self, node: Node, reading: Reading) -> Content | None:
        text = Text(template=False).read(node, reading)
        block = isinstance(node, Scalar) and node.block
        return None if text is None else Content(text, node.where, block)

    def schema(self) -> Json:
        return Text().schema()


Word = TypeVar("Word", bound=StrEnum)
Held = TypeVar("Held")


@dataclass(frozen=True, slots=True)
class Choice(Generic[Word]):
    """One of a closed set of words."""

    what: str
    words: type[Word]
    slips: Mapping[str, str] = field(default_factory=dict)
    """What others call a word → the word."""

    def read(self, node: Node, reading: Reading) -> Word | None:
        text = Text(self.what).read(node, reading)
        if text is None or (reading.render is None and MARKS.search(text)):
            return None
        known = [str(word) for word in self.words]
        if text not in known:
            meant = self.slips.get(text.lower())
            fix = f"write {meant}" if meant else suggestion(text, known)
            reading.problems.add(f"unknown {self.what} {text!r}", node.where, fix)
            return None
        return self.words(text)

    def schema(self) -> Json:
        words = [str(word) for word in self.words]
        return {"anyOf": [{"enum": words}, {"type": "string", "pattern": MARKS.pattern}]}


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number."""

    least: int = 0
    most: int = 2**31 - 1

    def read(self, node: Node, reading: Reading) -> int | None:
        if not isinstance(node, Scalar) or node.kind is not Kind.WHOLE:
            refuse(node, Kind.WHOLE.value, reading, f"write a number from {self.least}")
            return None
        number = whole(node.text) if len(node.text) < 20 else self.most + 1
        if not self.least <= number <= self.most:
            what = f"{last(node.where)} is {node.text[:20]}, out of range"
            fix = (
                f"write {self.least}"
                if self.least == self.most
                else f"write a number from {self.least} to {self.most}"
            )
            reading.problems.add(what, node.where, fix)
            return None
        return number

    def schema(self) -> Json:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false; `only_true` where false would say nothing."""

    only_true: bool = False

    def read(self, node: Node, reading: Reading) -> bool | None:
        wanted = "true" if self.only_true else Kind.FLAG.value
        if not isinstance(node, Scalar) or node.kind is not Kind.FLAG:
            refuse(node, wanted, reading, f"write {wanted}")
            return None
        value = node.text.lower() == "true"
        if self.only_true and not value:
            reading.problems.add(f"{last(node.where)} is false", node.where, "remove it")
            return None
        return value

    def schema(self) -> Json:
        return {"const": True} if self.only_true else {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Mode:
    """A file's mode: octal, in quotes."""

    def read(self, node: Node, reading: Reading) -> int | None:
        if isinstance(node, Scalar) and node.kind is Kind.WHOLE:
            digits = node.text.removeprefix("0o").rjust(4, "0")
            example = digits if re.fullmatch(_MODE, digits) else "0644"
            reading.problems.add(
                f"mode is the number {node.text}, which YAML readers take for octal or decimal",
                node.where,
                f'write octal digits in quotes: mode: "{example}"',
            )
            return None
        text = Text("a mode", _MODE, 'write octal digits in quotes: "0644"').read(node, reading)
        return None if text is None or MARKS.search(text) else int(text, 8)

    def schema(self) -> Json:
        return Text("a mode", _MODE).schema()


_MODE = "0?[0-7]{3,4}"
_UNITS = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_SIZE = f"[0-9]{{1,15}}([.][0-9]{{1,9}})? ?({'|'.join(_UNITS)})"


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes: a whole number, or text with a unit such as 17.6 MB or 64 MiB."""

    def read(self, node: Node, reading: Reading) -> int | None:
        if isinstance(node, Scalar) and node.kind is Kind.WHOLE:
            return Whole(0, 2**63 - 1).read(node, reading)
        fix = "write bytes, or a number and one of " + " ".join(_UNITS)
        if isinstance(node, Scalar) and node.kind is Kind.NUMBER:
            reading.problems.add(f"the size {node.text} has no unit", node.where, fix)
            return None
        text = Text("a size", _SIZE, fix).read(node, reading)
        if text is None or MARKS.search(text):
            return None
        unit = text.lstrip("0123456789. ")
        number, _, decimals = text.removesuffix(unit).strip().partition(".")
        return int(int(number + decimals) * _UNITS[unit] // 10 ** len(decimals))

    def schema(self) -> Json:
        return {"anyOf": [Whole(0, 2**63 - 1).schema(), Text("a size", _SIZE).schema()]}


@dataclass(frozen=True, slots=True)
class Templated(Generic[Held]):
    """A number or a flag, or a template that gives one."""

    shape: Shape[Held]

    def read(self, node: Node, reading: Reading) -> Held | None:
        if isinstance(node, Scalar) and node.kind is Kind.TEXT and MARKS.search(node.text):
            text = None if reading.render is None else reading.render(node)
            if text is None:
                return None
            node = replace(node, text=text, kind=kind_of(text))
        return self.shape.read(node, reading)

    def schema(self) -> Json:
        return {"anyOf": [self.shape.schema(), {"type": "string", "pattern": MARKS.pattern}]}


class Variable:
    """A variable's value: text, a whole number, true or false, or a list of texts."""

    def read(self, node: Node, reading: Reading) -> Value | None:
        if isinstance(node, Items):
            texts = [Text(template=False).read(item, reading) for item in node.nodes]
            return tuple(text for text in texts if text is not None)
        if isinstance(node, Scalar):
            match node.kind:
                case Kind.TEXT:
                    return node.text
                case Kind.WHOLE:
                    return Whole(-(2**63), 2**63 - 1).read(node, reading)
                case Kind.FLAG:
                    return node.text.lower() == "true"
                case _:
                    pass
        text = node.text if isinstance(node, Scalar) else ""
        refuse(
            node,
            "text, a whole number, true or false, or a list of texts",
            reading,
            f'put it in quotes: "{text}"'
            if isinstance(node, Scalar)
            else "split it into several variables",
        )
        return None

    def schema(self) -> Json:
        kinds = ("string", "integer", "boolean")
        texts: Json = {"type": "array", "items": {"type": "string"}}
        return {"anyOf": [*({"type": kind} for kind in kinds), texts]}
