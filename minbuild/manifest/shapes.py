"""Shapes of lists and mappings."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Generic, TypeVar

from minbuild.manifest.nodes import Entries, Items, Kind, Node, Scalar
from minbuild.manifest.problems import suggestion
from minbuild.manifest.scalars import Text
from minbuild.manifest.shape import Json, Reading, Shape, last, refuse
from minbuild.manifest.types import Where

T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Many(Generic[T]):
    """A list."""

    item: Shape[T]
    least: int = 0

    def read(self, node: Node, reading: Reading) -> tuple[T, ...] | None:
        if not isinstance(node, Items):
            refuse(node, "a list", reading, "write it as a list: [a, b]")
            return None
        if len(node.nodes) < self.least:
            reading.problems.add(
                f"{last(node.where)} is empty", node.where, "list something, or remove the key"
            )
        values = [self.item.read(item, reading) for item in node.nodes]
        return tuple(value for value in values if value is not None)

    def schema(self) -> Json:
        least: Json = {"minItems": self.least} if self.least else {}
        return {"type": "array", "items": self.item.schema(), **least}


@dataclass(frozen=True, slots=True)
class OneOrMany(Generic[T]):
    """One value, or a list of them."""

    item: Shape[T]

    def read(self, node: Node, reading: Reading) -> tuple[T, ...] | None:
        if isinstance(node, Items):
            return Many(self.item, least=1).read(node, reading)
        value = self.item.read(node, reading)
        return None if value is None else (value,)

    def schema(self) -> Json:
        return {"anyOf": [self.item.schema(), Many(self.item, least=1).schema()]}


@dataclass(frozen=True, slots=True)
class Alterable(Generic[T]):
    """A list, or how the list of the manifests that are extended is altered.

    Merging leaves no alteration: what is read of one that stands alone is what it adds.
    """

    items: Shape[tuple[T, ...]]

    def read(self, node: Node, reading: Reading) -> tuple[T, ...] | None:
        if not isinstance(node, Entries):
            return self.items.read(node, reading)
        lists = {
            key: self.items.read(entry.node, reading)
            for key, entry in node.entries.items()
            if key in ALTERATIONS
        }
        for key, entry in node.entries.items():
            if key not in ALTERATIONS:
                fix = suggestion(key, ALTERATIONS)
                reading.problems.add(f"unknown key {key!r}", entry.where, fix)
        if not node.entries:
            what = f"{last(node.where)} says nothing of how the list is altered"
            reading.problems.add(what, node.where, "give remove, add or replace")
        if "replace" in lists and len(lists) > 1:
            where = node.entries["replace"].where
            fix = "write all that the list is to have below replace"
            reading.problems.add("replace does not go with add or remove", where, fix)
        return lists.get("replace", lists.get("add", ()))

    def schema(self) -> Json:
        items = self.items.schema()
        return {"anyOf": [items, _alteration(items)]}


ALTERATIONS = ("remove", "add", "replace")


def _alteration(items: Json) -> Json:
    about = {
        "remove": "What is taken out of the list of the manifests that are extended.",
        "add": "What is added to it.",
        "replace": "The whole list, in place of theirs.",
    }
    return {
        "type": "object",
        "description": "How the list of the manifests that are extended is altered.",
        "properties": {key: {**items, "description": about[key]} for key in ALTERATIONS},
        "additionalProperties": False,
        "minProperties": 1,
        "allOf": [{"not": {"required": ["replace", key]}} for key in ("add", "remove")],
    }


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
            refuse(node, "a mapping", reading, "write it as a mapping: {key: value}")
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
    slips: Mapping[str, str] = field(default_factory=dict)
    """Keys that others call so, or look for here → what to write instead."""

    def read(self, node: Node, reading: Reading) -> T | None:
        return self.pick(node, reading, (key.name for key in self.keys))

    def pick(self, node: Node, reading: Reading, names: Iterable[str]) -> T | None:
        """Read only the keys in `names`; None when one without a default is not there."""
        if not isinstance(node, Entries):
            refuse(node, "a mapping", reading, "write its keys, or remove it")
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
            one.name: None if one.default_factory is not MISSING else one.default
            for one in fields(self.make)  # type: ignore[arg-type]
        }

    def _check_keys(self, node: Entries, reading: Reading) -> None:
        known = {key.name for key in self.keys}
        for name, entry in node.entries.items():
            if name not in known:
                fix = self.slips.get(name) or self._deeper(name) or suggestion(name, known)
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

    def _deeper(self, name: str) -> str:
        """Where a key belongs that stands too high; "" when no mapping of this one has it."""
        for key in self.keys:
            shape = key.shape.record if isinstance(key.shape, Either) else key.shape
            if isinstance(shape, Record) and any(one.name == name for one in shape.keys):
                return f"write it below {key.name}: {key.name}: {{{name}: …}}"
        return ""

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
