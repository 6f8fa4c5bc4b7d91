"""YAML: the one door to PyYAML; text → nodes that know their line, column and document path.

Nothing is constructed: nodes are built from the parser's events, so no tag can run code, and depth
and aliases are counted before they cost anything. Plain scalars follow the YAML 1.2 core schema:
`on`, `no` and `12:30` are text. Source: YAML 1.2.2, 10.3.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from minbuild.manifest.nodes import Entries, Entry, Items, Kind, Node, Scalar, joined, kind_of
from minbuild.manifest.problems import Problems
from minbuild.manifest.types import Where

LARGEST = 1 << 20
"""Bytes of the largest document that is read; a larger one is no manifest."""
DEEPEST = 24
MOST_NODES = 50_000
"""Nodes of one document, each alias counted with all that it stands for."""


_STANDARD = "tag:yaml.org,2002:"


def parse(data: bytes, file: str, problems: Problems) -> Node | None:
    """The document in `data`; None when it cannot be read, which is then one of the problems."""
    if len(data) > LARGEST:
        problems.add(
            f"the file has {len(data)} bytes: too large for a manifest",
            Where(file, 1, 1),
            "name a YAML file; copy large files into the image with source:",
        )
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        problems.add("not UTF-8 text", _place(file, before), "save the file as UTF-8")
        return None
    return _sound(text, file) or _compose(text, file, problems)


@lru_cache(maxsize=512)
def _sound(text: str, file: str) -> Node | None:
    """A document without a problem; several manifests of a run share most of theirs."""
    problems = Problems()
    node = _compose(text, file, problems)
    return None if len(problems) else node


def _compose(text: str, file: str, problems: Problems) -> Node | None:
    import yaml

    bad = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if bad:
        problems.add(
            f"the character U+{ord(bad[0]):04X} may not stand in YAML",
            _place(file, text[: bad.start()]),
            'remove it, or write it as an escape in quotes: "\\x07"',
        )
        return None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(file, problems)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
            if builder.stopped:
                return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark and error.context_mark and mark.line >= len(text.splitlines()):
            mark = error.context_mark  # not closed: where it was opened says more than the end
        at = Where(file, mark.line + 1, mark.column + 1) if mark else Where(file, 1, 1)
        about = error.problem or error.context or "not YAML"
        problems.add(f"not YAML: {about}", at, "correct the YAML; quote text that holds : # or {")
        return None
    except (yaml.YAMLError, ValueError) as error:
        problems.add(f"not YAML: {error}", Where(file, 1, 1), "correct the YAML")
        return None
    return builder.document(text)


def _place(file: str, before: str) -> Where:
    """The place after the text `before`."""
    return Where(file, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    where: Where
    entries: dict[str, Entry] | None
    """None for a list."""
    nodes: list[Node]
    anchor: str | None
    size: int = 1
    height: int = 1
    key: str | None = None
    key_where: Where | None = None


class _Builder:
    """Makes nodes of the parser's events; objects of PyYAML never leave this module."""

    def __init__(self, file: str, problems: Problems) -> None:
        self.stopped = False
        self._file = file
        self._problems = problems
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._root: Node | None = None
        self._documents = 0
        self._nodes = 0

    def take(self, event: Any) -> None:
        """Go on by one event."""
        import yaml

        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._start(event, mapping=isinstance(event, yaml.MappingStartEvent))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end()
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._stop("a second document", event, "keep one document in a file")
            case _:
                pass

    def document(self, text: str) -> Node | None:
        """The whole document, after its last event."""
        if self._root is None or (
            isinstance(self._root, Scalar) and self._root.kind is Kind.NOTHING
        ):
            self._problems.add("the file is empty", Where(self._file, 1, 1), "write a manifest")
            return None
        return self._root

    def _stop(self, what: str, event: Any, fix: str) -> None:
        self._problems.add(what, self._where(event), fix)
        self.stopped = True

    def _where(self, event: Any) -> Where:
        mark = event.start_mark
        return Where(self._file, mark.line + 1, mark.column + 1, self._path())

    def _path(self) -> str:
        """The document path of the node that comes next."""
        if not self._stack:
            return ""
        top = self._stack[-1]
        if top.entries is None:
            return f"{top.where.document}[{len(top.nodes)}]"
        if top.key is None:
            return top.where.document
        return joined(top.where.document, top.key)

    def _tag(self, event: Any, allowed: tuple[str, ...]) -> None:
        tag = event.tag
        if tag and tag != "!" and tag.removeprefix(_STANDARD) not in allowed:
            self._problems.add(f"the tag {tag}", self._where(event), "remove the tag")

    def _scalar(self, event: Any) -> None:
        key_wanted = bool(self._stack) and self._awaits_key(self._stack[-1])
        self._tag(event, ("str",) if event.tag else ())
        if key_wanted:
            self._key(event)
            return
        is_plain = event.implicit[0] and not event.style and event.tag is None
        node = Scalar(
            self._where(event),
            event.value,
            kind_of(event.value) if is_plain else Kind.TEXT,
            block=event.style == "|",
        )
        self._put(node, event.anchor, 1, 0)

    def _awaits_key(self, top: _Open) -> bool:
        return top.entries is not None and top.key is None

    def _key(self, event: Any) -> None:
        top = self._stack[-1]
        top.key = event.value
        top.key_where = self._where(event)

    def _start(self, event: Any, *, mapping: bool) -> None:
        self._tag(event, ("map",) if mapping else ("seq",))
        if self._stack and self._awaits_key(self._stack[-1]):
            self._stop("a key that is a list or a mapping", event, 'quote it: "{{ x }}": …')
        elif len(self._stack) >= DEEPEST:
            self._stop(f"nested deeper than {DEEPEST} levels", event, "flatten it")
        else:
            where = self._where(event)
            self._stack.append(_Open(where, {} if mapping else None, [], event.anchor))

    def _end(self) -> None:
        done = self._stack.pop()
        node: Node
        if done.entries is None:
            node = Items(done.where, tuple(done.nodes))
        else:
            node = Entries(done.where, done.entries)
        self._put(node, done.anchor, done.size, done.height)

    def _alias(self, event: Any) -> None:
        if self._stack and self._awaits_key(self._stack[-1]):
            self._stop("an alias as a key", event, "write the key out")
        elif any(part.anchor == event.anchor for part in self._stack):
            self._stop(f"*{event.anchor} holds itself", event, "write the value out")
        elif event.anchor not in self._anchors:
            self._stop(f"*{event.anchor} has no &{event.anchor} before it", event, "define it")
        else:
            node, size, height = self._anchors[event.anchor]
            if len(self._stack) + height > DEEPEST:
                self._stop(f"nested deeper than {DEEPEST} levels", event, "flatten it")
            self._put(node, None, size, height)

    def _put(self, node: Node, anchor: str | None, size: int, height: int) -> None:
        """Place a finished node in the list or mapping around it."""
        if anchor is not None:
            self._anchors[anchor] = (node, size, height)
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        top.size += size
        top.height = max(top.height, height + 1)
        if top.size > MOST_NODES:
            self._problems.add(
                f"more than {MOST_NODES} values, aliases counted", top.where, "use fewer aliases"
            )
            self.stopped = True
        if top.entries is None:
            top.nodes.append(node)
        else:
            self._enter(top, node)

    def _enter(self, top: _Open, node: Node) -> None:
        assert top.entries is not None
        assert top.key is not None
        assert top.key_where is not None
        key, where = top.key, top.key_where
        top.key = None
        first = top.entries.get(key)
        if first:
            self._problems.add(
                f"the key {key!r} is given twice",
                where,
                f"remove one of them (the first is on line {first.where.line})",
            )
        elif key == "<<":
            self._problems.add("a merge key (<<)", where, "use extends:, or write the values out")
        else:
            top.entries[key] = Entry(where, node)
