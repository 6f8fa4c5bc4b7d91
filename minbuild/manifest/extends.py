"""Manifests that extend others: which documents make one manifest, and how they are merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.manifest import document
from minbuild.manifest.alter import Alterations, alterable
from minbuild.manifest.find import extended, extends_fix
from minbuild.manifest.format import EXTENDS
from minbuild.manifest.inputs import Inputs, shown
from minbuild.manifest.nodes import Entries, Entry, Items, Node, Scalar, plain
from minbuild.manifest.shape import Reading
from minbuild.manifest.types import EVERY, Name, Where

_OWN = ("name", "extends", "matrix")
"""Keys that say something of one document only."""
_WHOLE = ("vars", "files")
"""Mappings whose values are replaced whole, not merged: a variable, a file."""
_EVERY = ("kernel.cmdline",)
"""Lists whose order counts, and where a word said again is no repeat."""
_ORDERED = ("dlopen", "paths")
"""Mappings of which the last line that fits holds: what is said later stands last."""


@dataclass(frozen=True, slots=True)
class Document:
    path: Path
    node: Entries


def merged(documents: Sequence[Document], alterations: Alterations) -> Entries:
    """One document of all: mappings merged, lists joined without repeats, later scalars win.

    Where order counts, the later document's lines come last. A list may be altered instead.
    """
    *earlier, last = documents
    node = Entries(last.node.where, {})
    for one in earlier:
        kept = {key: entry for key, entry in one.node.entries.items() if key not in _OWN}
        node = _merge(node, Entries(one.node.where, kept), alterations)
    return _merge(node, last.node, alterations)


class Chain:
    """The documents of one manifest, each once, after those it extends; itself the last one."""

    def __init__(self, inputs: Inputs) -> None:
        self.documents: list[Document] = []
        self.complete = True
        """False: a document is missing or cannot be read, so variables may be missing too."""
        self._inputs = inputs
        self._open: list[Path] = []
        self._done: set[Path] = set()

    def read(self, path: Path) -> bool:
        """Take the manifest and all it extends; False when the manifest itself cannot be read."""
        data = self._inputs.wanted(path, Where(shown(path), 1, 1))
        return data is not None and self._follow(path, data)

    def _follow(self, path: Path, data: bytes) -> bool:
        self._done.add(path.resolve())
        self._open.append(path)
        node = document.parse(data, shown(path), self._inputs.problems)
        if isinstance(node, Entries):
            entry = node.entries.get("extends")
            reading = Reading(self._inputs.problems)
            for name in (EXTENDS.read(entry.node, reading) or ()) if entry else ():
                self._extend(path, name)
            self.documents.append(Document(path, node))
        elif node is not None:
            self._inputs.problems.add(
                "the document is no mapping", node.where, "begin it with minbuild: 1"
            )
        self._open.pop()
        return isinstance(node, Entries)

    def _extend(self, path: Path, name: Name) -> None:
        other = extended(name.text, path.parent)
        if other is None:
            fix = extends_fix(name.text, path.parent)
            self._inputs.problems.add(f"there is no manifest {name.text}", name.where, fix)
            self.complete = False
            return
        circle = [one.resolve() for one in self._open]
        if other.resolve() in circle:
            start = circle.index(other.resolve())
            chain = " → ".join(shown(one) for one in [*self._open[start:], other])
            self._inputs.problems.add(
                f"manifests extend each other in a circle: {chain}",
                name.where,
                "remove this one from extends:",
            )
        elif other.resolve() not in self._done:
            data = self._inputs.wanted(other, name.where)
            if data is None or not self._follow(other, data):
                self.complete = False


def _merge(first: Entries, later: Entries, alterations: Alterations, path: str = "") -> Entries:
    entries = dict(first.entries)
    for key, entry in later.entries.items():
        known = entries.pop(key, None) if path in _ORDERED else entries.get(key)
        before = None if known is None else known.node
        node = _both(before, entry.node, f"{path}.{key}" if path else key, alterations)
        entries[key] = Entry(entry.where, node)
    return Entries(later.where, entries)


def _both(first: Node | None, later: Node, path: str, alterations: Alterations) -> Node:
    if path in alterable():
        return alterations.joined(path, first, later, repeats=path in _EVERY)
    if path in _ORDERED and isinstance(first, Scalar) and isinstance(later, Entries):
        first = Entries(first.where, {EVERY: Entry(first.where, first)})
    if isinstance(later, Entries) and (first is None or isinstance(first, Entries)):
        known = first or Entries(later.where, {})
        if path in _WHOLE:
            return Entries(later.where, {**known.entries, **later.entries})
        return _merge(known, later, alterations, path)
    if isinstance(first, Items) and isinstance(later, Items):
        there = [plain(node) for node in first.nodes]
        more = [node for node in later.nodes if plain(node) not in there]
        return Items(later.where, (*first.nodes, *more))
    return later
