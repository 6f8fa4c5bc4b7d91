"""Where components lie, and which there are."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.manifest import document
from minbuild.manifest.format import COMPONENT, ONE_NAME
from minbuild.manifest.inputs import Inputs, shown
from minbuild.manifest.problems import Problems, nearest
from minbuild.manifest.shape import Reading
from minbuild.manifest.types import PackagePaths, Section
from minbuild.manifest.written import ComponentDocument
from minbuild.shipped import shipped

OWN = "manifest"
"""The name of the component that holds what a manifest itself keeps; no file may have it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A component as a list shows it."""

    name: str
    """section/name."""
    section: Section
    summary: str
    needs: tuple[str, ...]
    where: str
    """Its file."""


class Shelf:
    """Directories of components, searched in order."""

    def __init__(self, directories: Sequence[Path]) -> None:
        """Take the directories, first come first served; the shipped one is added last."""
        first: dict[Path, Path] = {}
        for path in (*directories, shipped("manifests") / "components"):
            first.setdefault(path.absolute(), path)
        self._directories = tuple(first.values())

    def find(self, name: str, inputs: Inputs) -> tuple[Path, bytes] | None:
        """The file of section/name and its bytes; None when no directory has it."""
        for directory in self._directories:
            path = directory / f"{name}.yaml"
            data = inputs.read(path, shown(path))
            if data is not None:
                return path, data
        return None

    def files(self) -> dict[str, Path]:
        """Every component: section/name → file, by section in the report's order, then name."""
        found: dict[str, Path] = {}
        for section in Section:
            here: dict[str, Path] = {}
            for directory in self._directories:
                for path in sorted((directory / section).glob("*.yaml")):
                    if re.fullmatch(ONE_NAME, path.stem):
                        here.setdefault(f"{section}/{path.stem}", path)
            found.update(sorted(here.items()))
        return found

    def fix(self, name: str) -> str:
        """What to write instead of a component that is not there."""
        known = self.files()
        section, _, short = name.partition("/")
        elsewhere = [other for other in known if other.partition("/")[2] == short]
        if elsewhere:
            places = " or ".join(other.partition("/")[0] for other in elsewhere)
            return f"it exists in section {places}: write {elsewhere[0]}, or use it there"
        mine = {
            other.partition("/")[2]: other for other in known if other.startswith(f"{section}/")
        }
        every = {other.partition("/")[2]: other for other in known}
        for names in (mine, every):
            near = nearest(short, names)
            if near:
                return f"did you mean {names[near]}?"
        return f"write one that `minbuild components` lists, or write {name}.yaml yourself"


def listing(directories: Sequence[Path]) -> tuple[Listed, ...]:
    """Every component of these directories and those that ship, by section, then name.

    Raises: ManifestError with every problem of every component.
    """
    problems = Problems()
    listed = []
    for name, path, made in _read_all(directories, problems):
        section = Section(name.partition("/")[0])
        needs = tuple(full(need.text, section) for need in made.needs)
        listed.append(Listed(name, section, made.summary, needs, shown(path)))
    problems.check()
    return tuple(listed)


def asked_for(directories: Sequence[Path]) -> dict[str, tuple[PackagePaths, ...]]:
    """What each component asks of packages, as it is written; those with problems are left out."""
    return {name: made.packages for name, _, made in _read_all(directories, Problems())}


def _read_all(
    directories: Sequence[Path], problems: Problems
) -> Iterator[tuple[str, Path, ComponentDocument]]:
    inputs = Inputs(problems)
    for name, path in Shelf(directories).files().items():
        data = inputs.read(path, shown(path))
        node = None if data is None else document.parse(data, shown(path), problems)
        made = None if node is None else COMPONENT.read(node, Reading(problems))
        if made is not None:
            yield name, path, made


def full(reference: str, section: Section) -> str:
    """section/name of a reference that stands in `section` and may leave its section out."""
    return reference if "/" in reference else f"{section}/{reference}"
