"""Which components a manifest comes to: those it uses, each after those that it needs."""

from dataclasses import dataclass

from minbuild.manifest import document
from minbuild.manifest.components import OWN, Shelf, full
from minbuild.manifest.format import COMPONENT
from minbuild.manifest.inputs import Inputs, shown
from minbuild.manifest.nodes import Node
from minbuild.manifest.shape import Reading
from minbuild.manifest.types import Name, Section
from minbuild.manifest.written import ComponentDocument, HostDocument


@dataclass(frozen=True, slots=True)
class Found:
    """A component's document; its texts are still templates."""

    name: str
    """section/name."""
    section: Section
    node: Node
    outline: ComponentDocument
    """Only `needs` and `vars` are read."""


class Expansion:
    """The components found so far, in order."""

    def __init__(self, shelf: Shelf, inputs: Inputs) -> None:
        self.found: dict[str, Found] = {}
        self.complete = True
        """False: a component is missing or cannot be read, so variables may be missing too."""
        self._shelf = shelf
        self._inputs = inputs
        self._problems = inputs.problems
        self._chain: list[str] = []

    def use(self, host: HostDocument, sections: tuple[Section, ...]) -> None:
        """Take what each section uses, and all that those need."""
        for section in sections:
            part = host.part(section)
            for name in part.use if part is not None else ():
                wanted = full(name.text, section)
                if not wanted.startswith(f"{section}/"):
                    self._misplaced(wanted, section, name)
                self._take(wanted, name)

    def needs(self) -> dict[str, tuple[str, ...]]:
        """Each component that was found → what it needs, as section/name."""
        return {
            name: tuple(full(need.text, one.section) for need in one.outline.needs)
            for name, one in self.found.items()
        }

    def _misplaced(self, wanted: str, section: Section, name: Name) -> None:
        other, _, short = wanted.partition("/")
        if other in set(Section):
            what = f"{wanted} is no component of section {section}"
            self._problems.add(what, name.where, f"write {short} under {other}: use:")

    def _take(self, wanted: str, name: Name) -> None:
        if wanted in self._chain:
            circle = " → ".join([*self._chain[self._chain.index(wanted) :], wanted])
            self._problems.add(
                f"components need each other in a circle: {circle}",
                name.where,
                f"remove {name.text} from this needs:",
            )
        elif wanted not in self.found and (found := self._find(wanted, name)):
            self._chain.append(wanted)
            for need in found.outline.needs:
                self._take(full(need.text, found.section), need)
            self._chain.pop()
            self.found[wanted] = found

    def _find(self, wanted: str, name: Name) -> Found | None:
        """Read a component's file; None when there is none, or none that can be read."""
        section, _, short = wanted.partition("/")
        if section not in set(Section) or short == OWN:
            self._unknown(wanted, name)
            return None
        before = len(self._problems)
        file = self._shelf.find(wanted, self._inputs)
        if file is None:
            if len(self._problems) == before:
                self._unknown(wanted, name)
            self.complete = False
            return None
        path, data = file
        node = document.parse(data, shown(path), self._problems)
        reading = Reading(self._problems)
        outline = COMPONENT.pick(node, reading, ("needs", "vars")) if node else None
        if node is None or outline is None:
            self.complete = False
            return None
        return Found(wanted, Section(section), node, outline)

    def _unknown(self, wanted: str, name: Name) -> None:
        self.complete = False
        self._problems.add(f"there is no component {wanted}", name.where, self._shelf.fix(wanted))
