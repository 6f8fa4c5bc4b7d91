"""Lists that a manifest alters instead of adding to them: {remove: […], add: […]}, {replace: […]}."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from minbuild.manifest.components import full
from minbuild.manifest.format import MANIFEST
from minbuild.manifest.nodes import Entries, Items, Node, Scalar, plain
from minbuild.manifest.problems import Problems, suggestion
from minbuild.manifest.shape import Reading, Shape, last
from minbuild.manifest.shapes import Alterable, Either, Key, Record
from minbuild.manifest.types import Name, Section

USE = "use"


@cache
def alterable() -> Mapping[str, Alterable[object]]:
    """Every list of a manifest that can be altered, by its path: network.use, image.formats."""
    return dict(_below("", MANIFEST.keys))


def _below(path: str, keys: tuple[Key, ...]) -> Iterator[tuple[str, Alterable[object]]]:
    for key in keys:
        here = f"{path}.{key.name}" if path else key.name
        shape: Shape[object] = key.shape
        if isinstance(shape, Either):
            shape = shape.record
        if isinstance(shape, Alterable):
            yield here, shape
        elif isinstance(shape, Record):
            yield from _below(here, shape.keys)


@dataclass(frozen=True, slots=True)
class Alterations:
    """How lists come to be while documents are merged, and which components were taken out."""

    problems: Problems
    removed: dict[str, Name] = field(default_factory=dict)
    """Components that no later document uses again: section/name → where that is said."""
    absent: dict[str, tuple[Name, str]] = field(default_factory=dict)
    """Removed components that none of the manifests uses: where that is said, what to do."""

    def joined(self, path: str, known: Node | None, later: Node, *, repeats: bool) -> Node:
        """The list at a path after one more document; `repeats`: what is there is added again."""
        if isinstance(later, Items):
            return self._added(path, _items(known, later), later, repeats=repeats)
        if not isinstance(later, Entries):
            return later
        if alterable()[path].read(later, Reading(self.problems)) is None:
            return _items(known, later)
        lists = {key: entry.node for key, entry in later.entries.items()}
        if isinstance(whole := lists.get("replace"), Items):
            return self._added(path, Items(whole.where, ()), whole, repeats=True)
        items = _items(known, later)
        if isinstance(out := lists.get("remove"), Items):
            items = self._without(path, items, out)
        if isinstance(more := lists.get("add"), Items):
            items = self._added(path, items, more, repeats=repeats)
        return Items(later.where, items.nodes)

    def _added(self, path: str, known: Items, more: Items, *, repeats: bool) -> Items:
        for node in more.nodes:
            self.removed.pop(_component(path, node), None)
        there = [] if repeats else [_same(path, node) for node in known.nodes]
        new = [node for node in more.nodes if _same(path, node) not in there]
        return Items(more.where, (*known.nodes, *new))

    def _without(self, path: str, known: Items, out: Items) -> Items:
        gone = [_same(path, node) for node in out.nodes]
        there = [_same(path, node) for node in known.nodes]
        for node, same in zip(out.nodes, gone, strict=True):
            component = _component(path, node)
            if component:
                self.removed[component] = Name(component, node.where)
            if same not in there:
                self._removes_nothing(path, node, known, component)
        kept = [node for node, same in zip(known.nodes, there, strict=True) if same not in gone]
        return Items(out.where, tuple(kept))

    def _removes_nothing(self, path: str, node: Node, known: Items, component: str) -> None:
        names = [one.text for one in known.nodes if isinstance(one, Scalar)]
        text = node.text if isinstance(node, Scalar) else last(node.where)
        fix = suggestion(text, names, otherwise="" if names else "remove that line")
        if component:  # what it is needed by is known once all components are
            self.absent[component] = (Name(component, node.where), fix)
        else:
            what = f"{text} is removed, and {path} of the extended manifests has it not"
            self.problems.add(what, node.where, fix)

    def check(self, needs: Mapping[str, tuple[str, ...]]) -> None:
        """Add problems for components that were taken out and come all the same, or never came.

        `needs`: what each component that is found needs, as section/name.
        """
        wanted_by = {
            name: sorted(one for one, wanted in needs.items() if name in wanted)
            for name in self.removed
        }
        for name, by in wanted_by.items():
            if by:
                names, verb = " and ".join(by), "need it" if len(by) > 1 else "needs it"
                what = f"{name} is removed, and {names} {verb}"
                fix = f"remove {names} too, or keep {name}"
                self.problems.add(what, self.removed[name].where, fix)
        for name, (place, fix) in self.absent.items():
            if not wanted_by.get(name):
                what = f"{name} is removed, and none of the extended manifests uses it"
                self.problems.add(what, place.where, fix)


def _items(known: Node | None, later: Node) -> Items:
    if isinstance(known, Items):
        return known
    return Items(later.where, () if known is None else (known,))


def _same(path: str, node: Node) -> object:
    return _component(path, node) or plain(node)


def _component(path: str, node: Node) -> str:
    """section/name of an item of `use`; "" for an item of another list."""
    section, _, key = path.partition(".")
    if key != USE or not isinstance(node, Scalar):
        return ""
    return full(node.text, Section(section))
