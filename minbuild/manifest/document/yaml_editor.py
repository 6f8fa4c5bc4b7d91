"""Edits of a YAML document in place: by the parser's marks, so that every other byte stays.

Comments, quotes, indentation, blank lines and line ends are the user's. A change of a list or
mapping is written in its own style, flow (`[a, b]`) or block (`- a`).
"""

import json
from collections.abc import Sequence

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from minbuild.errors import ManifestError
from minbuild.manifest.document.nodes import ScalarKind, classify_scalar

INDENT = 2
"""Columns by which a new block is deeper than its parent."""


class YamlEditor:
    """The text of one document; each method changes it, and reads it again."""

    def __init__(self, text: str, file: str) -> None:
        """`text` is a valid document whose root is a mapping; `file` names it in errors."""
        self.text = text
        self._file = file

    def find(self, path: Sequence[str | int]) -> Node | None:
        """Find a value by keys and positions; None if there is none, or it is empty."""
        node = yaml.compose(self.text, Loader=yaml.SafeLoader)
        for part in path:
            node = _get_child(node, part)
            if node is None:
                return None
        return None if _is_null(node) else node

    def is_mapping(self, path: Sequence[str | int]) -> bool:
        """Whether there is a mapping."""
        return isinstance(self.find(path), MappingNode)

    def count_items(self, path: Sequence[str | int]) -> int:
        """The number of items of a list; 0 if there is none."""
        node = self.find(path)
        return len(node.value) if isinstance(node, SequenceNode) else 0

    def get_text(self, path: Sequence[str | int]) -> str:
        """The text of a scalar; "" if there is none."""
        node = self.find(path)
        return str(node.value) if isinstance(node, ScalarNode) else ""

    def list_texts(self, path: Sequence[str | int]) -> list[str]:
        """The items of a list of texts; () if there is none."""
        node = self.find(path)
        return [str(item.value) for item in node.value] if isinstance(node, SequenceNode) else []

    def add_item(self, path: Sequence[str | int], item: str, after: Sequence[str] = ()) -> None:
        """Add an item, as YAML, at the end of a list; the list is made where it is missing.

        `after`: keys of the root; a new key of the root comes after the last of them.
        """
        if self.find(path) is None:
            self.set_value(path, f"[{item}]", after=after)
            return
        node = self._require(path)
        if not isinstance(node, SequenceNode):
            raise self._make_error(path, "is not a list")
        if node.flow_style:
            place = node.value[-1].end_mark.index if node.value else node.start_mark.index + 1
            self._replace(place, place, f", {item}" if node.value else item)
        else:
            self._insert_line(_find_end(node), f"{' ' * node.start_mark.column}- {item}")

    def remove_item(self, path: Sequence[str | int], index: int) -> None:
        """Remove an item of a list, with the comment on its line; an empty list stays as []."""
        node = self._require(path)
        items = node.value
        if len(items) == 1:
            self.replace_value(path, "[]")
        elif _is_flow(node):
            start = items[index - 1].end_mark.index if index else items[0].start_mark.index
            end = items[index].end_mark.index if index else items[1].start_mark.index
            self._replace(start, end, "")
        else:
            self._remove_lines(items[index].start_mark.index, _find_end(items[index]))

    def set_value(self, path: Sequence[str | int], value: str, after: Sequence[str] = ()) -> None:
        """Set the value of a key, as YAML on one line; keys on the way are made.

        `after`: keys of the root; a new key of the root comes after the last of them.
        """
        depth = len(path)
        while depth and self.find(path[:depth]) is None:
            depth -= 1
        if depth == len(path):
            self.replace_value(path, value)
            return
        parent = self._require(path[:depth])
        if not isinstance(parent, MappingNode):
            raise self._make_error(path[:depth], "is not a mapping")
        key, rest = path[depth], path[depth + 1 :]
        existing = _get_pair(parent, key)
        if existing is not None:  # a key without a value
            place = existing[0].end_mark.index
            place = self.text.index(":", place) + 1
            self._replace(place, place, f" {_nest_flow(rest, value)}")
        elif parent.flow_style:
            place = (
                parent.value[-1][1].end_mark.index if parent.value else parent.start_mark.index + 1
            )
            pair = f"{key}: {_nest_flow(rest, value)}"
            self._replace(place, place, f", {pair}" if parent.value else pair)
        else:
            self._insert_pair(parent, str(key), rest, value, after if depth == 0 else ())

    def replace_value(self, path: Sequence[str | int], value: str) -> None:
        """Replace a value by other YAML on one line."""
        node = self._require(path)
        if isinstance(node, (MappingNode, SequenceNode)) and not node.flow_style:
            key = self._find_key(path)
            start = self.text.index(":", key.end_mark.index) + 1
            tail = self.text[start : self._find_line_end(start)].rstrip()
            self._replace(start, self._find_line_end(_find_end(node)), f" {value}{tail}")
        else:
            self._replace(node.start_mark.index, node.end_mark.index, value)

    def remove_key(self, path: Sequence[str | int]) -> None:
        """Remove a key with its value; the mapping has others."""
        parent = self._require(path[:-1])
        index = next(n for n, (key, _) in enumerate(parent.value) if key.value == path[-1])
        key, value = parent.value[index]
        if not _is_flow(parent):
            self._remove_lines(key.start_mark.index, _find_end(value))
        elif index:
            self._replace(parent.value[index - 1][1].end_mark.index, value.end_mark.index, "")
        else:
            self._replace(key.start_mark.index, parent.value[1][0].start_mark.index, "")

    def wrap_list(self, path: Sequence[str | int], key: str) -> None:
        """Put a list below a key of a new mapping: `[a]` becomes `{add: [a]}`."""
        node = self._require(path)
        start, end = node.start_mark.index, node.end_mark.index
        if _is_flow(node):
            self._replace(start, end, f"{{{key}: {self.text[start:end]}}}")
            return
        column = self._find_key(path).start_mark.column + INDENT
        start = self.text.rindex("\n", 0, start) + 1
        end = self._find_line_end(_find_end(node))
        shift = " " * (column + INDENT - node.start_mark.column)
        lines = self.text[start:end].split("\n")
        moved = [shift + line if line.strip() else line for line in lines]
        self._replace(start, end, "\n".join([f"{' ' * column}{key}:", *moved]))

    def _insert_pair(
        self, parent: MappingNode, key: str, rest: Sequence[str | int], value: str,
        after: Sequence[str],
    ) -> None:  # fmt: skip
        """Insert a pair into a block mapping, after the last of the keys `after` that it has."""
        previous = [node for name, node in parent.value if name.value in after]
        last = previous[-1] if previous else parent.value[-1][1]
        if not rest and value.startswith("[{"):  # a list of mappings: one on each line
            text = f"{key}:\n{' ' * (parent.start_mark.column + INDENT)}- {value[1:-1]}"
        elif not rest:
            text = f"{key}: {value}"
        else:
            text = f"{key}:\n{' ' * (parent.start_mark.column + INDENT)}{rest[0]}: "
            text += _nest_flow(rest[1:], value)
        self._insert_line(_find_end(last), " " * parent.start_mark.column + text)

    def _require(self, path: Sequence[str | int]) -> Node:
        """Find a value that can be changed: an alias stands for a text elsewhere."""
        node = self.find(path)
        if node is None:
            raise self._make_error(path, "is not there")
        key = self._find_key(path) if path and isinstance(path[-1], str) else None
        if key is not None and node.start_mark.index < key.start_mark.index:
            raise self._make_error(path, "is an alias (*NAME) of another value")
        return node

    def _find_key(self, path: Sequence[str | int]) -> Node:
        parent = self.find(path[:-1])
        pair = _get_pair(parent, path[-1]) if parent is not None else None
        if pair is None:
            raise self._make_error(path, "is not there")
        return pair[0]

    def _make_error(self, path: Sequence[str | int], fault: str) -> ManifestError:
        name = ".".join(map(str, path)) or "the document"
        return ManifestError(
            f"{name} cannot be changed: it {fault}", where=self._file, fix="change it by hand"
        )

    def _find_line_end(self, place: int) -> int:
        """The end of a line without its line end."""
        end = self.text.find("\n", place)
        if end < 0:
            return len(self.text)
        return end - 1 if self.text[end - 1] == "\r" and end > place else end

    def _insert_line(self, place: int, line: str) -> None:
        """Insert lines after the one with `place`, with this document's line ends."""
        newline = "\r\n" if "\r\n" in self.text else "\n"
        end = self._find_line_end(place)
        self._replace(end, end, newline + line.replace("\n", newline))

    def _remove_lines(self, start: int, end: int) -> None:
        """Remove the lines from that with `start` to that with `end`."""
        first = self.text.rfind("\n", 0, start) + 1
        after = self.text.find("\n", end)
        self._replace(first, len(self.text) if after < 0 else after + 1, "")

    def _replace(self, start: int, end: int, text: str) -> None:
        self.text = self.text[:start] + text + self.text[end:]


def quote_scalar(text: str) -> str:
    """Write a text as a YAML scalar that is read as that text: plain where it can be."""
    is_plain = (
        text.strip() == text
        and classify_scalar(text) is ScalarKind.TEXT
        and not set(text) & set("\n\t:#,[]{}&*!|>'\"%@`\\")
        and not text.startswith(("-", "?", "="))
    )
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _is_flow(node: Node) -> bool:
    return isinstance(node, CollectionNode) and bool(node.flow_style)


def _nest_flow(keys: Sequence[str | int], value: str) -> str:
    for key in reversed(keys):
        value = f"{{{key}: {value}}}"
    return value


def _get_pair(node: Node | None, key: str | int) -> tuple[Node, Node] | None:
    if isinstance(node, MappingNode):
        for name, value in node.value:
            if name.value == key:
                return name, value
    return None


def _get_child(node: Node | None, key: str | int) -> Node | None:
    if isinstance(key, int):
        return node.value[key] if isinstance(node, SequenceNode) else None
    pair = _get_pair(node, key)
    return None if pair is None else pair[1]


def _is_null(node: Node | None) -> bool:
    return (
        isinstance(node, ScalarNode)
        and not node.style
        and classify_scalar(node.value) is ScalarKind.NULL
    )


def _find_end(node: Node) -> int:
    """The end of a value's last token: that of a block ends where the next token begins."""
    if isinstance(node, MappingNode) and not node.flow_style and node.value:
        return _find_end(node.value[-1][1])
    if isinstance(node, SequenceNode) and not node.flow_style and node.value:
        return _find_end(node.value[-1])
    end: int = node.end_mark.index
    if isinstance(node, ScalarNode) and node.style in ("|", ">"):
        return max(node.start_mark.index, end - 1)  # behind its last line end
    return end
