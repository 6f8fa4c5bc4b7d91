"""Values of a YAML document with the span of text that each takes, for edits in place.

PyYAML's own nodes have no span for an alias: it is the node of the text that it repeats.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import yaml

from minbuild.manifest.document.nodes import ScalarKind, classify_scalar


class InvalidYaml(ValueError):
    """What is not YAML, or has an alias of no value before it; its text says why."""


Plain = dict[object, "Plain"] | list["Plain"] | str | bool | int | None
"""A value without its place: what is compared before and after an edit."""


@dataclass(slots=True)
class Span:
    """A value, and the part of the text that it takes, with its tag and anchor."""

    start: int
    end: int
    """Of a collection in block style, where its last value ends."""

    def to_plain(self) -> Plain:
        """The value that is read here; an alias is read as what it repeats."""
        raise NotImplementedError

    def resolve(self) -> "Span":
        """The value itself: of an alias, the one that it repeats."""
        return self


@dataclass(slots=True)
class ScalarSpan(Span):
    """A text, number or word."""

    text: str
    kind: ScalarKind

    def to_plain(self) -> Plain:
        return None if self.kind is ScalarKind.NULL else f"{self.kind.name} {self.text}"


@dataclass(slots=True)
class AliasSpan(Span):
    """`*name`: a value that stands elsewhere."""

    target: Span

    def to_plain(self) -> Plain:
        return self.target.to_plain()

    def resolve(self) -> Span:
        return self.target


@dataclass(slots=True)
class CollectionSpan(Span):
    """What lists and mappings have in common."""

    is_flow: bool
    """`[a, b]` or `{a: b}`, not one value a line."""
    items: list[Span] = field(default_factory=list)
    """Of a mapping, key and value in turn."""


@dataclass(slots=True)
class SequenceSpan(CollectionSpan):
    """A list."""

    def to_plain(self) -> Plain:
        return [item.to_plain() for item in self.items]


@dataclass(slots=True)
class MappingSpan(CollectionSpan):
    """A mapping."""

    @property
    def pairs(self) -> list[tuple[Span, Span]]:
        """Key and value of each entry."""
        return list(zip(self.items[::2], self.items[1::2], strict=True))

    def find_pair(self, key: object) -> tuple[Span, Span] | None:
        """The first entry with this key."""
        for name, value in self.pairs:
            if isinstance(name, ScalarSpan) and name.text == key:
                return name, value
        return None

    def to_plain(self) -> Plain:
        return {
            name.text if isinstance(name, ScalarSpan) else name.start: value.to_plain()
            for name, value in self.pairs
        }


def read_spans(text: str) -> Span | None:
    """Read a document; None for an empty one.

    Raises: InvalidYaml.
    """
    try:
        return _read_events(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise InvalidYaml(getattr(error, "problem", None) or str(error)) from error


def _read_events(events: Iterable[yaml.Event]) -> Span | None:
    root: list[Span] = []
    open_collections: list[tuple[CollectionSpan, str | None]] = []
    anchors: dict[str | None, Span] = {}
    for event in events:
        assert event.start_mark is not None
        assert event.end_mark is not None
        start, end = event.start_mark.index, event.end_mark.index
        span: Span
        match event:
            case yaml.CollectionEndEvent():
                span, anchor = open_collections.pop()
                # in block style it ends where its last value does, not at the next token
                span.end = end if span.is_flow or not span.items else span.items[-1].end
                anchors[anchor] = span
                continue
            case yaml.AliasEvent():
                if event.anchor not in anchors:
                    raise InvalidYaml(f"no value before *{event.anchor} is called &{event.anchor}")
                span = AliasSpan(start, end, anchors[event.anchor])
            case yaml.SequenceStartEvent():
                span = SequenceSpan(start, end, bool(event.flow_style))
            case yaml.MappingStartEvent():
                span = MappingSpan(start, end, bool(event.flow_style))
            case yaml.ScalarEvent():
                kind = ScalarKind.TEXT if event.style else classify_scalar(event.value)
                if event.style in ("|", ">"):
                    end = max(start, end - 1)  # it ends behind its last line end
                span = anchors[event.anchor] = ScalarSpan(start, end, event.value, kind)
            case _:
                continue
        (open_collections[-1][0].items if open_collections else root).append(span)
        if isinstance(span, CollectionSpan):
            open_collections.append((span, event.anchor))
    return root[0] if root else None
