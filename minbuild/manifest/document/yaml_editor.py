"""Edits of a YAML document in place: by the parser's marks, so that every other byte stays.

Comments, quotes, indentation, blank lines and line ends are the user's. A change of a list or
mapping is written in its own style, flow (`[a, b]`) or block (`- a`).
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from minbuild.errors import ManifestError
from minbuild.manifest.document.nodes import ScalarKind, classify_scalar
from minbuild.manifest.document.yaml_spans import (
    AliasSpan,
    CollectionSpan,
    InvalidYaml,
    MappingSpan,
    Plain,
    ScalarSpan,
    SequenceSpan,
    Span,
    read_spans,
)

INDENT = 2
"""Columns by which a new block is deeper than its parent."""
Path = Sequence[str | int]
"""Keys and positions that lead to a value."""
_BLANK = r"(?:\s|(?<!\S)#[^\n]*)*"
_PROPERTIES = re.compile(rf"(?:[&!]\S*{_BLANK})*")
"""Anchor and tag of a value. Source: YAML 1.2.2, 6.9."""
_NEXT_COMMA = re.compile(rf"{_BLANK},")
_REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\n]*?)?(?=\r?\n|\Z)")
_Kind = TypeVar("_Kind", bound=Span)


class YamlEditor:
    """The text of one document; each method changes it, and reads it again.

    A change that would make other YAML of it than was asked for, or none, is a ManifestError, and
    the text stays.
    """

    def __init__(self, text: str, file: str) -> None:
        """`text` is a valid document whose root is a mapping; `file` names it in errors."""
        self.text = text
        self._file = file
        self._root = read_spans(text)

    def find(self, path: Path) -> Span | None:
        """Find a value by keys and positions; None if there is none, or it is empty."""
        span = self._root
        for part in path:
            span = _get_child(span, part)
        resolved = None if span is None else span.resolve()
        is_empty = isinstance(resolved, ScalarSpan) and resolved.kind is ScalarKind.NULL
        return None if is_empty else resolved

    def is_mapping(self, path: Path) -> bool:
        """Whether there is a mapping."""
        return isinstance(self.find(path), MappingSpan)

    def count_items(self, path: Path) -> int:
        """The number of items of a list; 0 if there is none."""
        span = self.find(path)
        return len(span.items) if isinstance(span, SequenceSpan) else 0

    def get_text(self, path: Path) -> str:
        """The text of a scalar; "" if there is none."""
        span = self.find(path)
        return span.text if isinstance(span, ScalarSpan) else ""

    def list_texts(self, path: Path) -> list[str]:
        """The items of a list of texts; () if there is none."""
        return [self.get_text((*path, number)) for number in range(self.count_items(path))]

    def add_item(self, path: Path, item: str, after: Sequence[str] = ()) -> None:
        """Add an item, as YAML, at the end of a list; the list is made where it is missing.

        `after`: keys of the root; a new key of the root comes after the last of them.
        """
        if self.find(path) is None:
            self.set_value(path, f"[{item}]", after=after)
            return
        span = self._require(path, SequenceSpan, "is not a list")
        expected = self._expect(path, lambda items: [*items, self._read_value(path, item)])
        if not span.items:
            at = self._skip_properties(span) + 1
            self._replace(path, at, at, item, expected)
        elif span.is_flow:
            at = span.items[-1].end
            self._replace(path, at, at, f", {item}", expected)
        else:
            line = f"{' ' * self._find_column(self._skip_properties(span))}- {item}"
            self._insert_line(path, span.end, line, expected)

    def remove_item(self, path: Path, index: int) -> None:
        """Remove an item of a list, with the comment on its line; an empty list stays as []."""
        span = self._require(path, SequenceSpan, "is not a list")
        if len(span.items) == 1:
            self.replace_value(path, "[]")
            return
        expected = self._expect(path, lambda items: [*items[:index], *items[index + 1 :]])
        spans = [(item.start, item.end) for item in span.items]
        self._remove_entry(path, span, spans, index, expected)

    def remove_key(self, path: Path) -> None:
        """Remove a key with its value; the mapping has others."""
        parent = self._require(path[:-1], MappingSpan, "is not a mapping")
        expected = self._expect(
            path[:-1], lambda old: {key: value for key, value in old.items() if key != path[-1]}
        )
        index = parent.pairs.index(self._require_pair(path))
        spans = [(key.start, value.end) for key, value in parent.pairs]
        self._remove_entry(path, parent, spans, index, expected)

    def set_value(self, path: Path, value: str, after: Sequence[str] = ()) -> None:
        """Set the value of a key, as YAML on one line; keys on the way are made.

        `after`: keys of the root; a new key of the root comes after the last of them.
        """
        depth = len(path)
        while depth and self.find(path[:depth]) is None:
            depth -= 1
        if depth == len(path):
            self.replace_value(path, value)
            return
        parent = self._require(path[:depth], MappingSpan, "is not a mapping")
        key, rest = str(path[depth]), path[depth + 1 :]
        expected = self._expect(
            path[:depth],
            lambda old: {**old, key: self._read_value(path, _nest_flow(rest, value))},
        )
        existing = parent.find_pair(key)
        if existing is not None:  # a key without a value, or with an empty one
            empty = existing[1]
            self._replace(path, empty.start, empty.end,
                          f"{'' if empty.end > empty.start else ' '}{_nest_flow(rest, value)}",
                          expected)  # fmt: skip
        elif parent.is_flow:
            pair = f"{key}: {_nest_flow(rest, value)}"
            at = parent.items[-1].end if parent.items else self._skip_properties(parent) + 1
            self._replace(path, at, at, f", {pair}" if parent.items else pair, expected)
        else:
            previous = [entry for name in after if (entry := parent.find_pair(name)) is not None]
            last = (
                max(previous, key=lambda entry: entry[1].end)[1] if previous else parent.items[-1]
            )
            column = self._find_column(parent.items[0].start)
            self._insert_line(path, last.end, _compose_pair(key, rest, value, column), expected)

    def replace_value(self, path: Path, value: str) -> None:
        """Replace a value, with its tag and anchor, by other YAML on one line."""
        span = self._require(path, Span)
        expected = self._expect(path, lambda _: self._read_value(path, value))
        if isinstance(span, CollectionSpan) and not span.is_flow:
            key, _ = self._require_pair(path)
            start = self.text.index(":", key.end) + 1
            tail = re.sub(r"^(?:\s*[&!]\S*)+", "", self.text[start : self._find_line_end(start)])
            self._replace(path, start, self._find_line_end(span.end),
                          f" {value}{tail.rstrip()}", expected)  # fmt: skip
        else:
            self._replace(path, span.start, span.end, value, expected)

    def wrap_list(self, path: Path, key: str) -> None:
        """Put a list below a key of a new mapping: `[a]` becomes `{add: [a]}`."""
        span = self._require(path, SequenceSpan, "is not a list")
        expected = self._expect(path, lambda items: {key: items})
        if span.is_flow:
            text = f"{{{key}: {self.text[span.start : span.end]}}}"
            self._replace(path, span.start, span.end, text, expected)
            return
        own_column = self._find_column(self._skip_properties(span))
        column = self._find_column(self._require_pair(path)[0].start) + INDENT
        start = self.text.rindex("\n", 0, self._skip_properties(span)) + 1
        end = self._find_line_end(span.end)
        shift = " " * (column + INDENT - own_column)
        lines = self.text[start:end].split("\n")
        moved = [shift + line if line.strip() else line for line in lines]
        text = "\n".join([f"{' ' * column}{key}:", *moved])
        self._replace(path, start, end, text, expected)

    def _remove_entry(
        self, path: Path, parent: CollectionSpan, spans: Sequence[tuple[int, int]], index: int,
        expected: Plain,
    ) -> None:  # fmt: skip
        """Remove one of the entries of a list or mapping: its lines, or its part of one."""
        if parent.is_flow:
            self._commit(path, _cut_flow_entry(self.text, spans, index), expected)
        else:
            first, last = self._find_lines(*spans[index])
            self._replace(path, first, last, "", expected)

    def _require(self, path: Path, kind: type[_Kind], fault: str = "") -> _Kind:
        """Find a value that can be changed here: an alias stands for a text elsewhere."""
        span = self._root
        for depth in range(len(path) + 1):
            if depth:
                span = _get_child(span, path[depth - 1])
            if isinstance(span, AliasSpan):
                raise self._make_error(path[:depth], "it is an alias (*NAME) of another value")
        if span is None:
            raise self._make_error(path, "it is not there")
        if not isinstance(span, kind):
            raise self._make_error(path, f"it {fault}")
        return span

    def _require_pair(self, path: Path) -> tuple[Span, Span]:
        pair = self._require(path[:-1], MappingSpan, "is not a mapping").find_pair(path[-1])
        if pair is None:
            raise self._make_error(path, "it is not there")
        return pair

    def _make_error(self, path: Path, fault: str) -> ManifestError:
        name = ".".join(map(str, path)) or "the document"
        return ManifestError(
            f"{name} cannot be changed: {fault}", where=self._file, fix="change it by hand"
        )

    def _expect(self, path: Path, change: Callable[[Any], Plain]) -> Plain:
        """What the document is read as when the value at `path` is changed, and no other."""
        return _change_plain(self._root.to_plain() if self._root else None, path, change)

    def _read_value(self, path: Path, text: str) -> Plain:
        try:
            span = read_spans(text)
        except InvalidYaml as error:
            raise self._make_error(path, f"{text} is not YAML") from error
        return None if span is None else span.to_plain()

    def _skip_properties(self, span: Span) -> int:
        """Where a value begins, behind its anchor and tag."""
        match = _PROPERTIES.match(self.text, span.start)
        return match.end() if match else span.start

    def _find_column(self, offset: int) -> int:
        return offset - self.text.rfind("\n", 0, offset) - 1

    def _find_line_end(self, offset: int) -> int:
        """The end of a line without its line end."""
        end = self.text.find("\n", offset)
        if end < 0:
            return len(self.text)
        return end - 1 if self.text[end - 1] == "\r" and end > offset else end

    def _find_lines(self, start: int, end: int) -> tuple[int, int]:
        """The lines from that with `start` to that with `end`, with its line end."""
        after = self.text.find("\n", end)
        return self.text.rfind("\n", 0, start) + 1, len(self.text) if after < 0 else after + 1

    def _insert_line(self, path: Path, offset: int, line: str, expected: Plain) -> None:
        """Insert lines after the one with `offset`, with this document's line ends."""
        newline = "\r\n" if "\r\n" in self.text else "\n"
        end = self._find_line_end(offset)
        self._replace(path, end, end, newline + line.replace("\n", newline), expected)

    def _replace(self, path: Path, start: int, end: int, text: str, expected: Plain) -> None:
        self._commit(path, self.text[:start] + text + self.text[end:], expected)

    def _commit(self, path: Path, text: str, expected: Plain) -> None:
        """Take a new text. Raises: ManifestError when it is not read as expected."""
        try:
            root = read_spans(text)
        except InvalidYaml as error:
            raise self._make_error(path, f"the result would not be YAML ({error})") from error
        if (None if root is None else root.to_plain()) != expected:
            raise self._make_error(path, "another value would change with it")
        self.text, self._root = text, root


def quote_scalar(text: str) -> str:
    """Write a text as a YAML scalar that is read as that text: plain where it can be."""
    is_plain = (
        text.strip() == text
        and classify_scalar(text) is ScalarKind.TEXT
        and not set(text) & set("\n\t:#,[]{}&*!|>'\"%@`\\")
        and not text.startswith(("-", "?", "="))
    )
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _cut_flow_entry(text: str, spans: Sequence[tuple[int, int]], index: int) -> str:
    """The text without one entry of `[a, b]` or `{a: b}`, its comma, and a comment on its line."""
    start, end = spans[index]
    comma = _NEXT_COMMA.match(text, end)
    if comma is not None:
        end = comma.end()
    elif index:  # of the last one the comma before it
        before = _NEXT_COMMA.match(text, spans[index - 1][1])
        assert before is not None
        text = text[: before.end() - 1] + text[before.end() :]
        start, end = start - 1, end - 1
    line_start = text.rfind("\n", 0, start) + 1
    is_first = not text[line_start:start].strip()
    rest = _REST_OF_LINE.match(text, end)
    if is_first and rest is not None:
        return text[:line_start] + text[rest.end() :].removeprefix("\r").removeprefix("\n")
    if index == 0 and rest is not None:
        return text[:start].rstrip(" ") + text[rest.end() :]
    if comma is None or rest is not None:
        return text[:start].rstrip(" ") + text[end:]
    return text[:start] + text[end:].lstrip(" ")


def _compose_pair(key: str, rest: Path, value: str, column: int) -> str:
    """Lines of a new pair in a block mapping at this column."""
    indent = " " * column
    deeper = f"\n{indent}{' ' * INDENT}"
    if not rest and value.startswith("[{"):  # a list of mappings: one on each line
        return f"{indent}{key}:{deeper}- {value[1:-1]}"
    if not rest:
        return f"{indent}{key}: {value}"
    return f"{indent}{key}:{deeper}{rest[0]}: {_nest_flow(rest[1:], value)}"


def _nest_flow(keys: Path, value: str) -> str:
    for key in reversed(keys):
        value = f"{{{key}: {value}}}"
    return value


def _change_plain(value: Plain, path: Path, change: Callable[[Any], Plain]) -> Plain:
    """A value with one part of it changed."""
    if not path:
        return change(value)
    part, rest = path[0], path[1:]
    if isinstance(value, list):
        assert isinstance(part, int)
        return [*value[:part], _change_plain(value[part], rest, change), *value[part + 1 :]]
    assert isinstance(value, dict)
    return {**value, part: _change_plain(value.get(part), rest, change)}


def _get_child(span: Span | None, key: str | int) -> Span | None:
    span = None if span is None else span.resolve()
    if isinstance(span, SequenceSpan) and isinstance(key, int):
        return span.items[key]
    pair = span.find_pair(key) if isinstance(span, MappingSpan) else None
    return None if pair is None else pair[1]
