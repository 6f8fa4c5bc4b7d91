"""Manifests that extend others: the chain of documents, and their merge into one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from minbuild.manifest.components import qualify_name
from minbuild.manifest.document import yaml_reader
from minbuild.manifest.document.containers import AlterableList, Key, ListOf, Record, TextOrMapping
from minbuild.manifest.document.nodes import (
    MappingEntry,
    MappingNode,
    Node,
    Problems,
    ScalarNode,
    SequenceNode,
    suggest,
    to_plain,
)
from minbuild.manifest.document.scalars import ReadContext, ValueShape, name_key
from minbuild.manifest.grammar import EXTENDS, MANIFEST
from minbuild.manifest.input_files import InputFiles, display_path
from minbuild.manifest.model import ALL_FILES, LocatedName, Location, Section
from minbuild.manifest.shipped_manifests import find_extended, suggest_extended

USE_KEY = "use"


@cache
def find_alterable_lists() -> Mapping[str, AlterableList[object]]:
    """Return every list with `remove`, `add` and `replace`, by path: network.use, image.formats."""
    return dict(_walk_lists("", MANIFEST.keys))


def _walk_lists(path: str, keys: tuple[Key, ...]) -> Iterator[tuple[str, AlterableList[object]]]:
    for key in keys:
        key_path = f"{path}.{key.name}" if path else key.name
        shape: ValueShape[object] = key.shape
        if isinstance(shape, TextOrMapping):
            shape = shape.record
        if isinstance(shape, AlterableList):
            yield key_path, shape
        elif isinstance(shape, Record):
            yield from _walk_lists(key_path, shape.keys)


@dataclass(frozen=True, slots=True)
class Alterations:
    """Merges lists of several documents, and records the removed components."""

    problems: Problems
    removed: dict[str, LocatedName] = field(default_factory=dict)
    """Removed components that no later document uses again: section/name → place of the removal."""
    absent: dict[str, tuple[LocatedName, str]] = field(default_factory=dict)
    """Removed components that no manifest uses → place of the removal, and fix."""

    def merge_list(self, path: str, existing: Node | None, later: Node, *, repeats: bool) -> Node:
        """Merge one more document into a list; `repeats`: keep duplicates."""
        if isinstance(later, SequenceNode):
            return self._add_items(path, _as_sequence(existing, later), later, repeats=repeats)
        if not isinstance(later, MappingNode):
            return later
        if find_alterable_lists()[path].read(later, ReadContext(self.problems)) is None:
            return _as_sequence(existing, later)
        lists = {key: entry.node for key, entry in later.entries.items()}
        if isinstance(replacement := lists.get("replace"), SequenceNode):
            return self._add_items(
                path, SequenceNode(replacement.where, ()), replacement, repeats=True
            )
        items = _as_sequence(existing, later)
        if isinstance(removals := lists.get("remove"), SequenceNode):
            items = self._remove_items(path, items, removals)
        if isinstance(additions := lists.get("add"), SequenceNode):
            items = self._add_items(path, items, additions, repeats=repeats)
        return SequenceNode(later.where, items.nodes)

    def _add_items(
        self, path: str, existing: SequenceNode, additions: SequenceNode, *, repeats: bool
    ) -> SequenceNode:
        for node in additions.nodes:
            self.removed.pop(_qualify_component(path, node), None)
        identities = [] if repeats else [_identify(path, node) for node in existing.nodes]
        new = [node for node in additions.nodes if _identify(path, node) not in identities]
        return SequenceNode(additions.where, (*existing.nodes, *new))

    def _remove_items(
        self, path: str, existing: SequenceNode, removals: SequenceNode
    ) -> SequenceNode:
        removed = [_identify(path, node) for node in removals.nodes]
        identities = [_identify(path, node) for node in existing.nodes]
        for node, identity in zip(removals.nodes, removed, strict=True):
            component = _qualify_component(path, node)
            if component:
                self.removed[component] = LocatedName(component, node.where)
            if identity not in identities:
                self._report_absent(path, node, existing, component)
        remaining = [
            node
            for node, identity in zip(existing.nodes, identities, strict=True)
            if identity not in removed
        ]
        return SequenceNode(removals.where, tuple(remaining))

    def _report_absent(self, path: str, node: Node, existing: SequenceNode, component: str) -> None:
        names = [item.text for item in existing.nodes if isinstance(item, ScalarNode)]
        text = node.text if isinstance(node, ScalarNode) else name_key(node.where)
        fix = suggest(text, names, otherwise="" if names else "remove that line")
        if component:  # its dependents are known once all components are resolved
            self.absent[component] = (LocatedName(component, node.where), fix)
        else:
            message = f"cannot remove {text}: {path} of the extended manifests does not contain it"
            self.problems.add(message, node.where, fix)

    def check_removed(self, needs: Mapping[str, tuple[str, ...]]) -> None:
        """Add problems for removed components that others need, or that none uses.

        `needs`: component → components it needs, as section/name.
        """
        needed_by = {
            name: sorted(component for component, needed in needs.items() if name in needed)
            for name in self.removed
        }
        for name, dependents in needed_by.items():
            if dependents:
                names, verb = (
                    " and ".join(dependents),
                    "need it" if len(dependents) > 1 else "needs it",
                )
                message = f"cannot remove {name}: {names} {verb}"
                fix = f"remove {names} too, or keep {name}"
                self.problems.add(message, self.removed[name].where, fix)
        for name, (item, fix) in self.absent.items():
            if not needed_by.get(name):
                message = f"cannot remove {name}: none of the extended manifests uses it"
                self.problems.add(message, item.where, fix)


def _as_sequence(existing: Node | None, later: Node) -> SequenceNode:
    if isinstance(existing, SequenceNode):
        return existing
    return SequenceNode(later.where, () if existing is None else (existing,))


def _identify(path: str, node: Node) -> object:
    return _qualify_component(path, node) or to_plain(_with_current_names(path, node))


def _with_current_names(path: str, node: Node) -> Node:
    """Return an item of a list with former names of its keys replaced by the present ones."""
    items = find_alterable_lists()[path].items
    record = items.item if isinstance(items, ListOf) else None
    if isinstance(record, Record) and isinstance(node, MappingNode):
        return record.with_current_names(node)
    return node


def _qualify_component(path: str, node: Node) -> str:
    """Return section/name of an item of `use`; "" for an item of another list."""
    section, _, key = path.partition(".")
    if key != USE_KEY or not isinstance(node, ScalarNode):
        return ""
    return qualify_name(node.text, Section(section))


_UNMERGED_KEYS = ("name", "extends", "matrix")
"""Keys that apply to one document only."""
_REPLACED_MAPPINGS = ("vars", "files")
"""Mappings whose values are replaced, not merged: variables, files."""
_REPEATABLE_LISTS = ("kernel.cmdline", "kernel.xen-cmdline")
"""Lists whose order counts, and which keep duplicates."""
_ORDERED_MAPPINGS = ("dlopen", "paths")
"""Mappings whose last matching line wins: keys of later documents come last."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A document of the chain."""

    path: Path
    node: MappingNode


def merge_documents(documents: Sequence[ManifestFile], alterations: Alterations) -> MappingNode:
    """Merge documents: mappings are merged, lists joined without duplicates, later scalars win.

    If order counts, lines of later documents come last. `remove`, `add` and `replace` change lists.
    """
    *earlier, last = documents
    node = MappingNode(last.node.where, {})
    for document in earlier:
        entries = {
            key: entry for key, entry in document.node.entries.items() if key not in _UNMERGED_KEYS
        }
        node = _merge_mappings(node, MappingNode(document.node.where, entries), alterations)
    return _merge_mappings(node, last.node, alterations)


class ExtendsChain:
    """The documents of a manifest, each after those it extends; the manifest itself is the last."""

    def __init__(self, inputs: InputFiles) -> None:
        self.documents: list[ManifestFile] = []
        self.is_complete = True
        """False: a document is missing or invalid, so variables may be missing, too."""
        self._inputs = inputs
        self._open_files: list[Path] = []
        self._read_files: set[Path] = set()

    def read(self, path: Path) -> bool:
        """Read the manifest and all it extends; False if the manifest itself is not readable."""
        data = self._inputs.require(path, Location(display_path(path), 1, 1))
        return data is not None and self._read_extended(path, data)

    def _read_extended(self, path: Path, data: bytes) -> bool:
        self._read_files.add(path.resolve())
        self._open_files.append(path)
        node = yaml_reader.parse_document(data, display_path(path), self._inputs.problems)
        if isinstance(node, MappingNode):
            entry = node.entries.get("extends")
            context = ReadContext(self._inputs.problems)
            for name in (EXTENDS.read(entry.node, context) or ()) if entry else ():
                self._extend_by(path, name)
            self.documents.append(ManifestFile(path, node))
        elif node is not None:
            self._inputs.problems.add(
                "the document is not a mapping", node.where, "begin it with minbuild: 1"
            )
        self._open_files.pop()
        return isinstance(node, MappingNode)

    def _extend_by(self, path: Path, name: LocatedName) -> None:
        other = find_extended(name.text, path.parent)
        if other is None:
            fix = suggest_extended(name.text, path.parent)
            self._inputs.problems.add(f"there is no manifest {name.text}", name.where, fix)
            self.is_complete = False
            return
        circle = [file.resolve() for file in self._open_files]
        if other.resolve() in circle:
            start = circle.index(other.resolve())
            chain = " → ".join(display_path(file) for file in [*self._open_files[start:], other])
            self._inputs.problems.add(
                f"manifests extend each other in a circle: {chain}",
                name.where,
                "remove this one from extends:",
            )
        elif other.resolve() not in self._read_files:
            data = self._inputs.require(other, name.where)
            if data is None or not self._read_extended(other, data):
                self.is_complete = False


def _merge_mappings(
    first: MappingNode, later: MappingNode, alterations: Alterations, path: str = ""
) -> MappingNode:
    entries = dict(first.entries)
    for key, entry in later.entries.items():
        existing = entries.pop(key, None) if path in _ORDERED_MAPPINGS else entries.get(key)
        existing_node = None if existing is None else existing.node
        node = _merge_values(
            existing_node, entry.node, f"{path}.{key}" if path else key, alterations
        )
        entries[key] = MappingEntry(entry.where, node)
    return MappingNode(later.where, entries)


def _merge_values(first: Node | None, later: Node, path: str, alterations: Alterations) -> Node:
    if path in find_alterable_lists():
        return alterations.merge_list(path, first, later, repeats=path in _REPEATABLE_LISTS)
    if (
        path in _ORDERED_MAPPINGS
        and isinstance(first, ScalarNode)
        and isinstance(later, MappingNode)
    ):
        first = MappingNode(first.where, {ALL_FILES: MappingEntry(first.where, first)})
    if isinstance(later, MappingNode) and (first is None or isinstance(first, MappingNode)):
        existing = first or MappingNode(later.where, {})
        if path in _REPLACED_MAPPINGS:
            return MappingNode(later.where, {**existing.entries, **later.entries})
        return _merge_mappings(existing, later, alterations, path)
    if isinstance(first, SequenceNode) and isinstance(later, SequenceNode):
        plain_items = [to_plain(node) for node in first.nodes]
        additions = [node for node in later.nodes if to_plain(node) not in plain_items]
        return SequenceNode(later.where, (*first.nodes, *additions))
    return later
