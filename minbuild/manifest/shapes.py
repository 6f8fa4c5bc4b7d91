"""Shapes of a document's parts: each reads nodes, and describes itself as JSON Schema.

The decoder and the schema are two methods of one object, so that they cannot drift apart.
A shape that reads something bad tells `Problems` and gives None.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from minbuild.manifest.document import Entries, Items, Kind, Node, Scalar, whole
from minbuild.manifest.problems import Problems, suggestion
from minbuild.manifest.template import MARKS
from minbuild.manifest.types import Name, Value, Where

T = TypeVar("T")
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


def _wrong(node: Node, wanted: str, reading: Reading, fix: str) -> None:
    found = "a mapping"
    if isinstance(node, Items):
        found = "a list"
    elif isinstance(node, Scalar):
        found = node.kind.value + (
            f" ({node.text})" if node.text and node.kind != Kind.TEXT else ""
        )
    reading.problems.add(f"{_last(node.where)} is {found}, not {wanted}", node.where, fix)


def _last(where: Where) -> str:
    """How an error calls the place: the last part of its document path."""
    if not where.document:
        return "the document"
    last = re.search(r"[\w-]+(\[\d+\])*$", where.document)
    return last[0] if last else where.document


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
            _wrong(node, self.what, reading, fix or f"write {self.what}")
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


E_ = TypeVar("E_", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Choice(Generic[E_]):
    """One of a closed set of words."""

    what: str
    words: type[E_]

    def read(self, node: Node, reading: Reading) -> E_ | None:
        text = Text(self.what).read(node, reading)
        if text is None or (reading.render is None and MARKS.search(text)):
            return None
        known = [str(word) for word in self.words]
        if text not in known:
            reading.problems.add(
                f"unknown {self.what} {text!r}", node.where, suggestion(text, known)
            )
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
            _wrong(node, Kind.WHOLE.value, reading, f"write a number from {self.least}")
            return None
        number = whole(node.text) if len(node.text) < 20 else self.most + 1
        if not self.least <= number <= self.most:
            what = f"{_last(node.where)} is {node.text[:20]}, out of range"
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
            _wrong(node, wanted, reading, f"write {wanted}")
            return None
        value = node.text.lower() == "true"
        if self.only_true and not value:
            reading.problems.add(f"{_last(node.where)} is false", node.where, "remove it")
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
class Many(Generic[T]):
    """A list."""

    item: Shape[T]
    least: int = 0

    def read(self, node: Node, reading: Reading) -> tuple[T, ...] | None:
        if not isinstance(node, Items):
            _wrong(node, "a list", reading, "write it as a list: [a, b]")
            return None
        if len(node.nodes) < self.least:
            reading.problems.add(
                f"{_last(node.where)} is empty", node.where, "list something, or remove the key"
            )
        values = [self.item.read(item, reading) for item in node.nodes]
        return tuple(value for value in values if value is not None)

    def schema(self) -> Json:
        least: Json = {"minItems": self.least} if self.least else {}
        return {"type": "array", "items": self.item.schema(), **least}


V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Table(Generic[V, T]):
    """A mapping whose keys the user chooses; `make` is given key, value and the key's place."""

    key: Text
    value: Shape[V]
    make: Callable[[str, V, Where], T]
    keep_bad: V | None = None
    """Stands for a bad value, so that the key still counts as given."""

    def read(self, node: Node, reading: Reading) -> tuple[T, ...] | None:
        if not isinstance(node, Entries):
            _wrong(node, "a mapping", reading, "write it as a mapping: {key: value}")
            return None
        made = []
        for text, entry in node.entries.items():
            key = self.key.check(Scalar(entry.where, text, Kind.TEXT), reading)
            value = self.value.read(entry.node, reading)
            value = self.keep_bad if value is None else value
            if key is not None and value is not None:
                made.append(self.make(key, value, entry.where))
        return tuple(made)

    def schema(self) -> Json:
        names = self.key.schema()
        return {
            "type": "object",
            "propertyNames": names,
            "additionalProperties": self.value.schema(),
        }


class Variable:
    """A variable's value: text, a whole number, true or false, or a list of texts."""

    def read(self, node: Node, reading: Reading) -> Value | None:
        if isinstance(node, Items):
            return Many(Text(template=False)).read(node, reading)
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
        _wrong(
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


@dataclass(frozen=True, slots=True)
class Either(Generic[T, V]):
    """A text, or else a mapping."""

    text: Shape[T]
    record: Shape[V]

    def read(self, node: Node, reading: Reading) -> T | V | None:
        if isinstance(node, Entries):
            return self.record.read(node, reading)
        return self.text.read(node, reading)

    def schema(self) -> Json:
        return {"anyOf": [self.text.schema(), self.record.schema()]}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a record."""

    name: str
    shape: Shape[object]
    about: str
    required: bool = False

    @property
    def attribute(self) -> str:
        """The field of the record's dataclass."""
        return self.name.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Record(Generic[T]):
    """A mapping with known keys, read into the dataclass `make` (its `where` too, if it has one)."""

    make: Callable[..., T]
    about: str
    keys: tuple[Key, ...]
    one_of: tuple[str, ...] = ()
    """Exactly one of these keys must be there."""
    apart: tuple[tuple[str, str], ...] = ()
    """Pairs of keys that exclude each other."""

    def read(self, node: Node, reading: Reading) -> T | None:
        return self.pick(node, reading, (key.name for key in self.keys))

    def pick(self, node: Node, reading: Reading, names: Iterable[str]) -> T | None:
        """Read only the keys in `names`; None when one without a default is not there."""
        if not isinstance(node, Entries):
            _wrong(node, "a mapping", reading, "write its keys, or remove it")
            return None
        wanted = set(names)
        self._check_keys(node, reading)
        values: dict[str, object] = {}
        for key in self.keys:
            entry = node.entries.get(key.name)
            if key.name in wanted and entry is not None:
                value = key.shape.read(entry.node, reading)
                if value is not None:
                    values[key.attribute] = value
        defaults = self._defaults()
        if "where" in defaults:
            values["where"] = node.where
        if any(name not in values and default is MISSING for name, default in defaults.items()):
            return None
        return self.make(**values)

    def _defaults(self) -> Mapping[str, object]:
        """Each field's default; MISSING where there is none."""
        return {
            field.name: None if field.default_factory is not MISSING else field.default
            for field in fields(self.make)  # type: ignore[arg-type]
        }

    def _check_keys(self, node: Entries, reading: Reading) -> None:
        known = {key.name for key in self.keys}
        for name, entry in node.entries.items():
            if name not in known:
                fix = suggestion(name, known)
                reading.problems.add(f"unknown key {name!r}", entry.where, fix)
        for key in self.keys:
            if key.required and key.name not in node.entries:
                what = f"the key {key.name!r} is missing"
                reading.problems.add(what, node.where, f"add {key.name}: {key.about}")
        given = [name for name in self.one_of if name in node.entries]
        if self.one_of and len(given) != 1:
            what = (
                f"{' and '.join(given)} are given together" if given else "nothing says what it is"
            )
            fix = f"give one of: {', '.join(self.one_of)}"
            reading.problems.add(what, node.where, fix)
        for one, other in self.apart:
            if one in node.entries and other in node.entries:
                what = f"{one} and {other} do not go together"
                reading.problems.add(what, node.entries[other].where, f"remove {other}")

    def schema(self) -> Json:
        schema: Json = {
            "type": "object",
            "description": self.about,
            "properties": {
                key.name: {"description": key.about, **key.shape.schema(), **self._default(key)}
                for key in self.keys
            },
            "additionalProperties": False,
        }
        required = [key.name for key in self.keys if key.required]
        if required:
            schema["required"] = required
        if self.one_of:
            schema["oneOf"] = [{"required": [name]} for name in self.one_of]
        if self.apart:
            schema["allOf"] = [{"not": {"required": list(pair)}} for pair in self.apart]
        return schema

    def _default(self, key: Key) -> Json:
        """The dataclass's default, where JSON can say it."""
        value = self._defaults().get(key.attribute)
        if isinstance(value, tuple) and value and all(isinstance(item, str) for item in value):
            return {"default": [str(item) for item in value]}
        if isinstance(value, str | int) and value != "":
            return {"default": str(value) if isinstance(value, str) else value}
        return {}
