"""YAML parser: the door to PyYAML, from text to nodes with line, column and document path.

Nodes are built from the events of the parser: no tag can run code, and depth and aliases are
counted before they cost anything. Plain scalars follow the YAML 1.2 core schema:
`on`, `no` and `12:30` are text. Source: YAML 1.2.2, 10.3.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from minbuild.manifest.document.nodes import (
    Location,
    MappingEntry,
    MappingNode,
    Node,
    Problems,
    ScalarKind,
    ScalarNode,
    SequenceNode,
    classify_scalar,
    join_document_path,
)

MAX_DOCUMENT_SIZE = 1 << 20
"""Bytes of the largest document."""
MAX_DEPTH = 24
MAX_NODES = 50_000
"""Nodes of one document; an alias counts as the nodes it repeats."""


_YAML_TAG_PREFIX = "tag:yaml.org,2002:"


def parse_document(data: bytes, file: str, problems: Problems) -> Node | None:
    """Parse the document in `data`; None if it cannot be read, which adds a problem."""
    if len(data) > MAX_DOCUMENT_SIZE:
        problems.add(
            f"the file has {len(data)} bytes: too large for a manifest",
            Location(file, 1, 1),
            "name a YAML file; copy large files into the image with source:",
        )
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        problems.add("not UTF-8 text", _locate_end(file, before), "save the file as UTF-8")
        return None
    return _parse_cached(text, file) or _parse_text(text, file, problems)


@lru_cache(maxsize=512)
def _parse_cached(text: str, file: str) -> Node | None:
    """Parse a document; None if it has a problem. Manifests of a run share most documents."""
    problems = Problems()
    node = _parse_text(text, file, problems)
    return None if len(problems) else node


def _parse_text(text: str, file: str, problems: Problems) -> Node | None:
    unprintable = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if unprintable:
        problems.add(
            f"the character U+{ord(unprintable[0]):04X} is not allowed in YAML",
            _locate_end(file, text[: unprintable.start()]),
            'remove it, or write it as an escape in quotes: "\\x07"',
        )
        return None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _NodeBuilder(file, problems)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.handle_event(event)
            if builder.is_aborted:
                return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark and error.context_mark and mark.line >= len(text.splitlines()):
            mark = error.context_mark  # not closed: the opening line says more than the end
        location = Location(file, mark.line + 1, mark.column + 1) if mark else Location(file, 1, 1)
        reason = error.problem or error.context or "not YAML"
        problems.add(
            f"not YAML: {reason}", location, "correct the YAML; quote text with : # or { in it"
        )
        return None
    except (yaml.YAMLError, ValueError) as error:
        problems.add(f"not YAML: {error}", Location(file, 1, 1), "correct the YAML")
        return None
    return builder.finish(text)


def _locate_end(file: str, before: str) -> Location:
    """Return the place after the text `before`."""
    return Location(file, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


@dataclass(slots=True)
class _OpenCollection:
    """A list or mapping before its end event."""

    where: Location
    entries: dict[str, MappingEntry] | None
    """None for a list."""
    nodes: list[Node]
    anchor: str | None
    size: int = 1
    height: int = 1
    key: str | None = None
    key_where: Location | None = None


class _NodeBuilder:
    """Builds nodes from parser events; objects of PyYAML never leave this module."""

    def __init__(self, file: str, problems: Problems) -> None:
        self.is_aborted = False
        self._file = file
        self._problems = problems
        self._stack: list[_OpenCollection] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._root: Node | None = None
        self._documents = 0
        self._nodes = 0

    def handle_event(self, event: Any) -> None:
        """Process one event."""
        match event:
            case yaml.ScalarEvent():
                self._add_scalar(event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._begin_collection(event, mapping=isinstance(event, yaml.MappingStartEvent))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end_collection()
            case yaml.AliasEvent():
                self._add_alias(event)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._abort(
                        "the file has a second document", event, "keep one document in a file"
                    )
            case _:
                pass

    def finish(self, text: str) -> Node | None:
        """Return the document after the last event; None if it is empty."""
        if self._root is None or (
            isinstance(self._root, ScalarNode) and self._root.kind is ScalarKind.NULL
        ):
            self._problems.add("the file is empty", Location(self._file, 1, 1), "write a manifest")
            return None
        return self._root

    def _abort(self, message: str, event: Any, fix: str) -> None:
        self._problems.add(message, self._locate(event), fix)
        self.is_aborted = True

    def _locate(self, event: Any) -> Location:
        mark = event.start_mark
        return Location(self._file, mark.line + 1, mark.column + 1, self._next_path())

    def _next_path(self) -> str:
        """Return the document path of the next node."""
        if not self._stack:
            return ""
        top = self._stack[-1]
        if top.entries is None:
            return f"{top.where.document}[{len(top.nodes)}]"
        if top.key is None:
            return top.where.document
        return join_document_path(top.where.document, top.key)

    def _check_tag(self, event: Any, allowed: tuple[str, ...]) -> None:
        tag = event.tag
        if tag and tag != "!" and tag.removeprefix(_YAML_TAG_PREFIX) not in allowed:
            self._problems.add(
                f"the tag {tag} is not supported", self._locate(event), "remove the tag"
            )

    def _add_scalar(self, event: Any) -> None:
        is_key = bool(self._stack) and self._is_key_next(self._stack[-1])
        self._check_tag(event, ("str",) if event.tag else ())
        if is_key:
            self._begin_entry(event)
            return
        is_plain = event.implicit[0] and not event.style and event.tag is None
        node = ScalarNode(
            self._locate(event),
            event.value,
            classify_scalar(event.value) if is_plain else ScalarKind.TEXT,
            block=event.style == "|",
        )
        self._attach(node, event.anchor, 1, 0)

    def _is_key_next(self, top: _OpenCollection) -> bool:
        return top.entries is not None and top.key is None

    def _begin_entry(self, event: Any) -> None:
        top = self._stack[-1]
        top.key = event.value
        top.key_where = self._locate(event)

    def _begin_collection(self, event: Any, *, mapping: bool) -> None:
        self._check_tag(event, ("map",) if mapping else ("seq",))
        if self._stack and self._is_key_next(self._stack[-1]):
            self._abort("a key is a list or a mapping", event, 'quote it: "{{ x }}": …')
        elif len(self._stack) >= MAX_DEPTH:
            self._abort(f"nested deeper than {MAX_DEPTH} levels", event, "flatten it")
        else:
            where = self._locate(event)
            self._stack.append(_OpenCollection(where, {} if mapping else None, [], event.anchor))

    def _end_collection(self) -> None:
        collection = self._stack.pop()
        node: Node
        if collection.entries is None:
            node = SequenceNode(collection.where, tuple(collection.nodes))
        else:
            node = MappingNode(collection.where, collection.entries)
        self._attach(node, collection.anchor, collection.size, collection.height)

    def _add_alias(self, event: Any) -> None:
        if self._stack and self._is_key_next(self._stack[-1]):
            self._abort("an alias as a key", event, "write the key out")
        elif any(part.anchor == event.anchor for part in self._stack):
            self._abort(f"*{event.anchor} contains itself", event, "write the value out")
        elif event.anchor not in self._anchors:
            self._abort(f"*{event.anchor} has no &{event.anchor} before it", event, "define it")
        else:
            node, size, height = self._anchors[event.anchor]
            if len(self._stack) + height > MAX_DEPTH:
                self._abort(f"nested deeper than {MAX_DEPTH} levels", event, "flatten it")
            self._attach(node, None, size, height)

    def _attach(self, node: Node, anchor: str | None, size: int, height: int) -> None:
        """Add a complete node to the list or mapping around it."""
        if anchor is not None:
            self._anchors[anchor] = (node, size, height)
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        top.size += size
        top.height = max(top.height, height + 1)
        if top.size > MAX_NODES:
            self._problems.add(
                f"more than {MAX_NODES} values, aliases counted", top.where, "use fewer aliases"
            )
            self.is_aborted = True
        if top.entries is None:
            top.nodes.append(node)
        else:
            self._add_entry(top, node)

    def _add_entry(self, top: _OpenCollection, node: Node) -> None:
        assert top.entries is not None
        assert top.key is not None
        assert top.key_where is not None
        key, where = top.key, top.key_where
        top.key = None
        existing = top.entries.get(key)
        if existing:
            self._problems.add(
                f"the key {key!r} is given twice",
                where,
                f"remove one of them (the first is on line {existing.where.line})",
            )
        elif key == "<<":
            self._problems.add(
                "merge keys (<<) are not supported", where, "use extends:, or write the values out"
            )
        else:
            top.entries[key] = MappingEntry(where, node)
