"""Shapes of lists and mappings, and of records with known keys."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Generic, TypeVar

from minbuild.manifest.document.nodes import (
    Location,
    MappingEntry,
    MappingNode,
    Node,
    ScalarKind,
    ScalarNode,
    SequenceNode,
    suggest,
)
from minbuild.manifest.document.scalars import (
    Json,
    ReadContext,
    Text,
    ValueShape,
    name_key,
    report_wrong_type,
)

T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class ListOf(Generic[T]):
    """A list."""

    item: ValueShape[T]
    min_items: int = 0

    def read(self, node: Node, context: ReadContext) -> tuple[T, ...] | None:
        if not isinstance(node, SequenceNode):
            report_wrong_type(node, "a list", context, "write it as a list: [a, b]")
            return None
        if len(node.nodes) < self.min_items:
            context.problems.add(
                f"{name_key(node.where)} is empty", node.where, "list something, or remove the key"
            )
        values = [self.item.read(item, context) for item in node.nodes]
        return tuple(value for value in values if value is not None)

    def schema(self) -> Json:
        constraint: Json = {"minItems": self.min_items} if self.min_items else {}
        return {"type": "array", "items": self.item.schema(), **constraint}


@dataclass(frozen=True, slots=True)
class OneOrListOf(Generic[T]):
    """One value, or a list of them."""

    item: ValueShape[T]

    def read(self, node: Node, context: ReadContext) -> tuple[T, ...] | None:
        if isinstance(node, SequenceNode):
            return ListOf(self.item, min_items=1).read(node, context)
        value = self.item.read(node, context)
        return None if value is None else (value,)

    def schema(self) -> Json:
        return {"anyOf": [self.item.schema(), ListOf(self.item, min_items=1).schema()]}


@dataclass(frozen=True, slots=True)
class AlterableList(Generic[T]):
    """A list, or a change to the list of the extended manifests: `{remove: […], add: […]}`.

    Merging resolves every change; a change that is read alone gives what it adds.
    """

    items: ValueShape[tuple[T, ...]]

    def read(self, node: Node, context: ReadContext) -> tuple[T, ...] | None:
        if not isinstance(node, MappingNode):
            return self.items.read(node, context)
        lists = {
            key: self.items.read(entry.node, context)
            for key, entry in node.entries.items()
            if key in ALTERATIONS
        }
        for key, entry in node.entries.items():
            if key not in ALTERATIONS:
                fix = suggest(key, ALTERATIONS)
                context.problems.add(f"unknown key {key!r}", entry.where, fix)
        if not node.entries:
            message = f"{name_key(node.where)} changes nothing"
            context.problems.add(message, node.where, "give remove, add or replace")
        if "replace" in lists and len(lists) > 1:
            where = node.entries["replace"].where
            fix = "write the whole list below replace"
            context.problems.add("replace cannot be combined with add or remove", where, fix)
        return lists.get("replace", lists.get("add", ()))

    def schema(self) -> Json:
        items = self.items.schema()
        return {"anyOf": [items, _build_alteration_schema(items)]}


ALTERATIONS = ("remove", "add", "replace")


def _build_alteration_schema(items: Json) -> Json:
    descriptions = {
        "remove": "Items to remove from the list of the extended manifests.",
        "add": "Items to add to it.",
        "replace": "The whole list, instead of theirs.",
    }
    return {
        "type": "object",
        "description": "A change to the list of the extended manifests.",
        "properties": {key: {**items, "description": descriptions[key]} for key in ALTERATIONS},
        "additionalProperties": False,
        "minProperties": 1,
        "allOf": [{"not": {"required": ["replace", key]}} for key in ("add", "remove")],
    }


@dataclass(frozen=True, slots=True)
class MapOf(Generic[V, T]):
    """A mapping whose keys the user chooses; `factory` gets key, value and the place of the key."""

    key: Text
    value: ValueShape[V]
    factory: Callable[[str, V, Location], T]
    placeholder: V | None = None
    """Replaces a wrong value, so that the key still counts as given."""

    def read(self, node: Node, context: ReadContext) -> tuple[T, ...] | None:
        if not isinstance(node, MappingNode):
            report_wrong_type(node, "a mapping", context, "write it as a mapping: {key: value}")
            return None
        values = []
        for text, entry in node.entries.items():
            key = self.key.check(ScalarNode(entry.where, text, ScalarKind.TEXT), context)
            value = self.value.read(entry.node, context)
            value = self.placeholder if value is None else value
            if key is not None and value is not None:
                values.append(self.factory(key, value, entry.where))
        return tuple(values)

    def schema(self) -> Json:
        names = self.key.schema()
        return {
            "type": "object",
            "propertyNames": names,
            "additionalProperties": self.value.schema(),
        }


@dataclass(frozen=True, slots=True)
class TextOrMapping(Generic[T, V]):
    """A text, or a mapping."""

    text: ValueShape[T]
    record: ValueShape[V]

    def read(self, node: Node, context: ReadContext) -> T | V | None:
        if isinstance(node, MappingNode):
            return self.record.read(node, context)
        return self.text.read(node, context)

    def schema(self) -> Json:
        return {"anyOf": [self.text.schema(), self.record.schema()]}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a record."""

    name: str
    shape: ValueShape[object]
    description: str
    required: bool = False

    @property
    def attribute(self) -> str:
        """Name of the field in the record's dataclass: read-only → read_only."""
        return self.name.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Record(Generic[T]):
    """A mapping with known keys, read into the dataclass `factory`.

    A field `where` of the dataclass gets the place of the mapping.
    """

    factory: Callable[..., T]
    description: str
    keys: tuple[Key, ...]
    one_of: tuple[str, ...] = ()
    """Exactly one of these keys is required."""
    exclusive: tuple[tuple[str, str], ...] = ()
    """Pairs of keys that exclude each other."""
    synonyms: Mapping[str, str] = field(default_factory=dict)
    """Key that users of other tools would write → what to write instead."""
    former_names: Mapping[str, str] = field(default_factory=dict)
    """Name that a key had → its name; both are read, but not together."""

    def read(self, node: Node, context: ReadContext) -> T | None:
        return self.read_keys(node, context, (key.name for key in self.keys))

    def read_keys(self, node: Node, context: ReadContext, names: Iterable[str]) -> T | None:
        """Read only the keys in `names`; None if a required one is missing."""
        if not isinstance(node, MappingNode):
            report_wrong_type(node, "a mapping", context, "write its keys, or remove it")
            return None
        requested = set(names)
        self._check_former_names(node, context)
        node = self.with_current_names(node)
        self._check_keys(node, context)
        values: dict[str, object] = {}
        for key in self.keys:
            entry = node.entries.get(key.name)
            if key.name in requested and entry is not None:
                value = key.shape.read(entry.node, context)
                if value is not None:
                    values[key.attribute] = value
        defaults = self._read_defaults()
        if "where" in defaults:
            values["where"] = node.where
        if any(name not in values and default is MISSING for name, default in defaults.items()):
            return None
        return self.factory(**values)

    def with_current_names(self, node: MappingNode) -> MappingNode:
        """Return the mapping with each former name of a key replaced by its present one."""
        if not self.former_names.keys() & node.entries.keys():
            return node
        entries: dict[str, MappingEntry] = {}
        for name, entry in node.entries.items():
            entries.setdefault(self.former_names.get(name, name), entry)
        return MappingNode(node.where, entries)

    def _check_former_names(self, node: MappingNode, context: ReadContext) -> None:
        for former, name in self.former_names.items():
            if former in node.entries and name in node.entries:
                where, line = node.entries[former].where, node.entries[name].where.line
                message = f"{former} on line {where.line} is the former name of {name}, which is on line {line}"
                context.problems.add(message, where, f"remove {former}")

    def _read_defaults(self) -> Mapping[str, object]:
        """Return the default of each field; MISSING if it has none."""
        return {
            item.name: None if item.default_factory is not MISSING else item.default
            for item in fields(self.factory)  # type: ignore[arg-type]
        }

    def _check_keys(self, node: MappingNode, context: ReadContext) -> None:
        known = {key.name for key in self.keys}
        for name, entry in node.entries.items():
            if name not in known:
                fix = self.synonyms.get(name) or self._suggest_nesting(name) or suggest(name, known)
                context.problems.add(f"unknown key {name!r}", entry.where, fix)
        for key in self.keys:
            if key.required and key.name not in node.entries:
                message = f"the key {key.name!r} is missing"
                context.problems.add(message, node.where, f"add {key.name}: {key.description}")
        present = [name for name in self.one_of if name in node.entries]
        if self.one_of and len(present) != 1:
            message = (
                f"{' and '.join(present)} exclude each other"
                if present
                else "a required key is missing"
            )
            fix = f"give one of: {', '.join(self.one_of)}"
            context.problems.add(message, node.where, fix)
        for first, other in self.exclusive:
            if first in node.entries and other in node.entries:
                message = f"{first} and {other} exclude each other"
                context.problems.add(message, node.entries[other].where, f"remove {other}")

    def _suggest_nesting(self, name: str) -> str:
        """Say below which key a key belongs; "" if no nested mapping has it."""
        for key in self.keys:
            shape = key.shape.record if isinstance(key.shape, TextOrMapping) else key.shape
            if isinstance(shape, Record) and any(nested.name == name for nested in shape.keys):
                return f"write it below {key.name}: {key.name}: {{{name}: …}}"
        return ""

    def schema(self) -> Json:
        schema: Json = {
            "type": "object",
            "description": self.description,
            "properties": {
                key.name: {
                    "description": key.description,
                    **key.shape.schema(),
                    **self._describe_default(key),
                }
                for key in self.keys
            },
            "additionalProperties": False,
        }
        required = [
            key.name
            for key in self.keys
            if key.required and key.name not in self.former_names.values()
        ]
        if required:
            schema["required"] = required
        if self.one_of:
            schema["oneOf"] = [{"required": [name]} for name in self.one_of]
        if self.exclusive:
            schema["allOf"] = [{"not": {"required": list(pair)}} for pair in self.exclusive]
        for former, name in self.former_names.items():
            self._describe_former_name(schema, former, name)
        return schema

    def _describe_former_name(self, schema: Json, former: str, name: str) -> None:
        """Add a former name of a key to the schema of the record, as deprecated."""
        (key,) = (key for key in self.keys if key.name == name)
        properties = schema["properties"]
        assert isinstance(properties, dict)
        properties[former] = {
            "description": f"The former name of {name}.",
            "deprecated": True,
            **key.shape.schema(),
        }
        exactly_one = {"oneOf": [{"required": [name]}, {"required": [former]}]}
        both = {"not": {"required": [name, former]}}
        rules = schema.setdefault("allOf", [])
        assert isinstance(rules, list)
        rules.append(exactly_one if key.required else both)

    def _describe_default(self, key: Key) -> Json:
        """Return the default of a key, if JSON can express it."""
        value = self._read_defaults().get(key.attribute)
        if isinstance(value, tuple) and value and all(isinstance(item, str) for item in value):
            return {"default": [str(item) for item in value]}
        if isinstance(value, str | int) and value != "":
            return {"default": str(value) if isinstance(value, str) else value}
        return {}
