"""Components: search path, list, description, and the resolution of `use:` and `needs:`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.data import data_directory
from minbuild.errors import UsageError
from minbuild.manifest.document import yaml_reader
from minbuild.manifest.document.nodes import Node, Problems, find_nearest, suggest
from minbuild.manifest.document.scalars import ReadContext
from minbuild.manifest.grammar import COMPONENT
from minbuild.manifest.input_files import InputFiles, display_path
from minbuild.manifest.model import LocatedName, PackagePaths, Section
from minbuild.manifest.names import NAME_PATTERN
from minbuild.manifest.raw import RawComponent, RawKernel, RawManifest

OWN_COMPONENT = "manifest"
"""Name of the component for what a manifest itself adds; no file can have it."""


@dataclass(frozen=True, slots=True)
class ComponentSummary:
    """A component in a list."""

    name: str
    """section/name."""
    section: Section
    summary: str
    needs: tuple[str, ...]
    where: str
    """Its file."""


class ComponentPath:
    """Directories of components, searched in order like PATH."""

    def __init__(self, directories: Sequence[Path]) -> None:
        """Use these directories; the shipped one comes last."""
        directories_by_path: dict[Path, Path] = {}
        for path in (*directories, data_directory("manifests") / "components"):
            directories_by_path.setdefault(path.absolute(), path)
        self._directories = tuple(directories_by_path.values())

    def find(self, name: str, inputs: InputFiles) -> tuple[Path, bytes] | None:
        """Return file and bytes of section/name; None if no directory has it."""
        for directory in self._directories:
            path = directory / f"{name}.yaml"
            data = inputs.read(path, display_path(path))
            if data is not None:
                return path, data
        return None

    def list_files(self) -> dict[str, Path]:
        """Return every component, section/name → file, by section in the order of reports, then name."""
        components: dict[str, Path] = {}
        for section in Section:
            in_section: dict[str, Path] = {}
            for directory in self._directories:
                for path in sorted((directory / section).glob("*.yaml")):
                    if re.fullmatch(NAME_PATTERN, path.stem):
                        in_section.setdefault(f"{section}/{path.stem}", path)
            components.update(sorted(in_section.items()))
        return components

    def suggest_fix(self, name: str) -> str:
        """Say what to write instead of an unknown component."""
        for directory in self._directories:
            if (misnamed := directory / f"{name}.yml").is_file():
                return f"rename {display_path(misnamed)} to {Path(name).name}.yaml"
        known = self.list_files()
        section, _, short = name.partition("/")
        other_sections = [other for other in known if other.partition("/")[2] == short]
        if other_sections:
            sections = " or ".join(other.partition("/")[0] for other in other_sections)
            return f"it exists in section {sections}: write {other_sections[0]}, or use it there"
        same_section = {
            other.partition("/")[2]: other for other in known if other.startswith(f"{section}/")
        }
        all_sections = {other.partition("/")[2]: other for other in known}
        for names in (same_section, all_sections):
            closest = find_nearest(short, names)
            if closest:
                return f"did you mean {names[closest]}?"
        return f"write one that `minbuild components` lists, or write {name}.yaml yourself"


def list_components(directories: Sequence[Path]) -> tuple[ComponentSummary, ...]:
    """List the components of these directories and the shipped ones, by section, then name.

    Raises: ManifestError with every problem of every component.
    """
    problems = Problems()
    summaries = []
    for name, path, raw in _read_components(directories, problems):
        section = Section(name.partition("/")[0])
        needs = tuple(qualify_name(need.text, section) for need in raw.needs)
        summaries.append(ComponentSummary(name, section, raw.summary, needs, display_path(path)))
    problems.raise_if_any()
    return tuple(summaries)


def read_package_requests(directories: Sequence[Path]) -> dict[str, tuple[PackagePaths, ...]]:
    """Return the `packages:` of each component, as written; omit invalid components."""
    return {name: raw.packages for name, _, raw in _read_components(directories, Problems())}


def _read_components(
    directories: Sequence[Path], problems: Problems
) -> Iterator[tuple[str, Path, RawComponent]]:
    inputs = InputFiles(problems)
    for name, path in ComponentPath(directories).list_files().items():
        data = inputs.read(path, display_path(path))
        node = (
            None if data is None else yaml_reader.parse_document(data, display_path(path), problems)
        )
        raw = None if node is None else COMPONENT.read(node, ReadContext(problems))
        if raw is not None:
            yield name, path, raw


def qualify_name(reference: str, section: Section) -> str:
    """Return section/name of a reference in `section`, which may omit its section."""
    return reference if "/" in reference else f"{section}/{reference}"


def find_component(reference: str, files: Mapping[str, Path]) -> tuple[str, Path]:
    """Find a component by its name, with its section or without, among those of `list_files`.

    Raises: UsageError with a similar name, or the names of several.
    """
    matches = [name for name in files if reference in (name, name.partition("/")[2])]
    if len(matches) == 1:
        return matches[0], files[matches[0]]
    if matches:
        raise UsageError(
            f"several components are called {reference}", fix=f"write one of: {', '.join(matches)}"
        )
    shorts = [name.partition("/")[2] for name in files] if "/" not in reference else []
    fix = suggest(reference, [*files, *shorts], otherwise="`minbuild components` lists them")
    raise UsageError(f"there is no component {reference}", fix=fix)


@dataclass(frozen=True, slots=True)
class FoundComponent:
    """The document of a component, before its templates are rendered."""

    name: str
    """section/name."""
    section: Section
    node: Node
    outline: RawComponent
    """With `needs` and `vars` only."""


BASE_OPTIONS = "kernel/base"
PROTECTION_OPTIONS = ("kernel/mitigations", "kernel/self-protection")
"""Components of every kernel that is built: what Debian's has on, and `allnoconfig` has not."""


class ComponentResolver:
    """Resolves `use:` and `needs:` to an ordered set of components."""

    def __init__(self, component_path: ComponentPath, inputs: InputFiles) -> None:
        self.components: dict[str, FoundComponent] = {}
        self.is_complete = True
        """False: a component is missing or invalid, so variables may be missing, too."""
        self._component_path = component_path
        self._inputs = inputs
        self._problems = inputs.problems
        self._chain: list[str] = []

    def add_used(self, host: RawManifest, sections: tuple[Section, ...]) -> None:
        """Add the components that each section uses, each after those it needs."""
        for section in sections:
            if section is Section.KERNEL and host.kernel is not None and host.kernel.build:
                self._add_built_kernel(host.kernel)
            part = host.get_section(section)
            for name in part.use if part is not None else ():
                qualified = qualify_name(name.text, section)
                if not qualified.startswith(f"{section}/"):
                    self._report_wrong_section(qualified, section, name)
                self._add(qualified, name)

    def _add_built_kernel(self, kernel: RawKernel) -> None:
        """Add what a kernel that is built has without being asked for."""
        for qualified in (BASE_OPTIONS, *(PROTECTION_OPTIONS if kernel.protection else ())):
            self._add(qualified, LocatedName(qualified, kernel.where))

    def list_needs(self) -> dict[str, tuple[str, ...]]:
        """Return component → components it needs, as section/name."""
        return {
            name: tuple(
                qualify_name(need.text, component.section) for need in component.outline.needs
            )
            for name, component in self.components.items()
        }

    def _report_wrong_section(self, qualified: str, section: Section, name: LocatedName) -> None:
        other, _, short = qualified.partition("/")
        if other in set(Section):
            message = f"{qualified} is not in section {section}"
            self._problems.add(message, name.where, f"write {short} under {other}: use:")

    def _add(self, qualified: str, name: LocatedName) -> None:
        if qualified in self._chain:
            circle = " → ".join([*self._chain[self._chain.index(qualified) :], qualified])
            self._problems.add(
                f"components need each other in a circle: {circle}",
                name.where,
                f"remove {name.text} from this needs:",
            )
        elif qualified not in self.components and (
            component := self._read_component(qualified, name)
        ):
            self._chain.append(qualified)
            for need in component.outline.needs:
                self._add(qualify_name(need.text, component.section), need)
            self._chain.pop()
            self.components[qualified] = component

    def _read_component(self, qualified: str, name: LocatedName) -> FoundComponent | None:
        """Read the file of a component; None if it is missing or invalid."""
        section, _, short = qualified.partition("/")
        if section not in set(Section) or short == OWN_COMPONENT:
            self._report_unknown(qualified, name)
            return None
        problems_before = len(self._problems)
        file = self._component_path.find(qualified, self._inputs)
        if file is None:
            if len(self._problems) == problems_before:
                self._report_unknown(qualified, name)
            self.is_complete = False
            return None
        path, data = file
        node = yaml_reader.parse_document(data, display_path(path), self._problems)
        context = ReadContext(self._problems)
        outline = COMPONENT.read_keys(node, context, ("needs", "vars")) if node else None
        if node is None or outline is None:
            self.is_complete = False
            return None
        return FoundComponent(qualified, Section(section), node, outline)

    def _report_unknown(self, qualified: str, name: LocatedName) -> None:
        self.is_complete = False
        self._problems.add(
            f"there is no component {qualified}",
            name.where,
            self._component_path.suggest_fix(qualified),
        )
