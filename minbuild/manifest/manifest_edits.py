"""Edits of a manifest's text: components and kept files, added and taken away."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import ManifestError, UsageError
from minbuild.manifest.components import ComponentPath, find_component, qualify_name
from minbuild.manifest.document.nodes import Problems, suggest
from minbuild.manifest.document.yaml_editor import YamlEditor, quote_scalar
from minbuild.manifest.extends import ExtendsChain
from minbuild.manifest.grammar import MANIFEST
from minbuild.manifest.input_files import InputFiles, Trust, display_path
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Section, VariableValue
from minbuild.manifest.raw import RawManifest
from minbuild.manifest.unrendered import ManifestQuery, UnrenderedManifest, find_documents
from minbuild.manifest.variables import read_setting

_KEYS = tuple(key.name for key in MANIFEST.keys)
_KEPT_FILE = re.compile(r"(?P<package>[a-z0-9][a-z0-9+.-]+)[/:](?P<path>/?[^/].*)")
"""PACKAGE/usr/bin/FILE, PACKAGE:/usr/bin/FILE or PACKAGE/FILE."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that a manifest keeps, as the command line names it."""

    package: str
    path: str
    """Absolute path or glob."""


class ManifestEditor:
    """A manifest that is being edited; nothing is written until `check` has read the result."""

    def __init__(self, path: Path, trust: Trust, components: Sequence[Path] = ()) -> None:
        """Read the manifest and all that it extends.

        Raises: ManifestError when that is no manifest.
        """
        self.path = path
        self._trust = trust
        self._query = ManifestQuery(path, components=tuple(components))
        self._removed: list[str] = []
        problems = Problems()
        chain = ExtendsChain(InputFiles(problems, trust.grant(path, self._query.components)))
        chain.read(path)
        problems.raise_if_any()
        self.original = path.read_bytes()
        self._editor = YamlEditor(self.original.decode("utf-8"), display_path(path))
        self._component_path = ComponentPath(
            [
                *components,
                *(file.path.parent / "components" for file in reversed(chain.documents)),
            ]
        )

    @property
    def data(self) -> bytes:
        """The edited document."""
        return self._editor.text.encode("utf-8")

    def add(self, word: str) -> str:
        """Add a component, or PACKAGE/FILE; returns what was done, as a sentence.

        Raises: UsageError when there is no such component.
        """
        kept = self._parse_kept_file(word)
        if kept is not None:
            return self._add_kept_file(kept)
        name, _ = find_component(word, self._component_path.list_files())
        section, _, short = name.partition("/")
        path: tuple[str, ...] = (section, "use")
        if name in self._list_used(self._read_outline()):
            return f"{name} is used already"
        removed = self._find_name((*path, "remove"), name)
        if removed is not None:
            self._remove_from_list((*path, "remove"), removed)
            if name in self._list_used(self._read_outline()):
                return f"{name} is no longer removed"
        if self._editor.is_mapping(path):
            path = (*path, "replace" if self._editor.find((*path, "replace")) else "add")
        self._editor.add_item(path, short, _list_keys_before(section))
        return f"added {name}"

    def remove(self, word: str) -> str:
        """Take a component or PACKAGE/FILE out; returns what was done, as a sentence.

        A component of an extended manifest is removed by `use: {remove: […]}`.
        Raises: UsageError when the manifest does not use it.
        """
        kept = self._parse_kept_file(word)
        if kept is not None:
            return self._remove_kept_file(kept)
        used = self._list_used(self._read_outline())
        matches = [name for name in used if word in (name, name.partition("/")[2])]
        if len(matches) != 1:
            raise self._make_unused_error(word, used, matches)
        name = matches[0]
        self._removed.append(name)
        section, _, short = name.partition("/")
        for path in ((section, "use"), (section, "use", "add"), (section, "use", "replace")):
            index = self._find_name(path, name)
            if index is not None:
                self._remove_from_list(path, index)
        if name in self._list_used(self._read_outline()):
            self._remove_inherited((section, "use"), short)
            return f"removed {name}, which an extended manifest uses"
        return f"removed {name}"

    def set_variable(self, name: str, value: str) -> None:
        """Set a variable to a value as `--set` of `minbuild make` takes it, by its type.

        Raises: ManifestError for an unknown variable, or a value of another type.
        """
        outline = self._read_documents()
        typed = read_setting(name, value, outline.builtin, outline.defaults, outline.outline.vars)
        self._editor.set_value(("vars", name), _render_value(typed), _list_keys_before("vars"))

    def check(self, settings: Mapping[str, str] | None = None) -> None:
        """Read the edited manifest as a build would.

        Raises: UsageError for a removed component that others need; ManifestError with the
        problems that it did not have before.
        """
        for name in self._removed:
            if needed_by := self._list_dependents(name):
                raise self._make_needed_error(name, needed_by)
        known = self._list_problems(None, settings)
        new = [
            problem
            for problem in self._list_problems({self.path: self.data}, settings)
            if (problem.what, problem.fix) not in {(old.what, old.fix) for old in known}
        ]
        if new:
            first, *others = new
            first.also = tuple(others)
            raise first

    def _list_problems(
        self, drafts: Mapping[Path, bytes] | None, settings: Mapping[str, str] | None
    ) -> list[ManifestError]:
        try:
            read_manifest(
                self.path, settings=settings or {}, components=self._query.components,
                trust=self._trust, drafts=drafts,
            )  # fmt: skip
        except ManifestError as error:
            problems = [error, *(one for one in error.also if isinstance(one, ManifestError))]
            error.also = ()
            return problems
        return []

    def _read_outline(self) -> RawManifest:
        """The edited manifest, merged with those that it extends."""
        return self._read_documents().outline

    def _read_documents(self) -> UnrenderedManifest:
        """The edited manifest and its components; their problems are told by `check`."""
        permissions = self._trust.grant(self.path, self._query.components)
        inputs = InputFiles(Problems(), permissions, {self.path: self.data})
        return find_documents(self._query, inputs)

    def _list_used(self, outline: RawManifest) -> list[str]:
        """Components under `use:`, as section/name."""
        used = []
        for section in Section:
            part = outline.get_section(section)
            used += [qualify_name(name.text, section) for name in (part.use if part else ())]
        return used

    def _find_name(self, path: tuple[str, ...], name: str) -> int | None:
        """Position of a component in a list of this document; None where it is not in it."""
        section = Section(path[0])
        names = [qualify_name(text, section) for text in self._editor.list_texts(path)]
        return names.index(name) if name in names else None

    def _remove_from_list(self, path: tuple[str, ...], index: int) -> None:
        """Remove an item, and what is empty then: a key of `use: {…}`, or the change itself."""
        self._editor.remove_item(path, index)
        if len(path) < 3 or path[-1] == "replace" or self._editor.list_texts(path):
            return
        others = [key for key in ("remove", "add") if key != path[-1]]
        if self._editor.find((*path[:-1], others[0])) is None:
            self._editor.replace_value(path[:-1], "[]")
        else:
            self._editor.remove_key(path)

    def _remove_inherited(self, path: tuple[str, str], short: str) -> None:
        if self._editor.count_items(path):
            self._editor.wrap_list(path, "add")
        elif self._editor.find(path) is not None and not self._editor.is_mapping(path):
            self._editor.replace_value(path, f"{{remove: [{short}]}}")
            return
        self._editor.add_item((*path, "remove"), short, _list_keys_before(path[0]))

    def _make_unused_error(
        self, word: str, used: Sequence[str], matches: Sequence[str]
    ) -> UsageError:
        where = display_path(self.path)
        if matches:
            return UsageError(
                f"several components are called {word}", where=where,
                fix=f"write one of: {', '.join(matches)}",
            )  # fmt: skip
        needed_by = self._list_dependents(word)
        if needed_by:
            return self._make_needed_error(word, needed_by)
        names = [*used, *(name.partition("/")[2] for name in used)]
        return UsageError(
            f"the manifest does not use {word}", where=where,
            fix=suggest(word, names, otherwise=f"it uses {', '.join(used)}"),
        )  # fmt: skip

    def _make_needed_error(self, word: str, needed_by: Sequence[str]) -> UsageError:
        return UsageError(
            f"{word} stays: {', '.join(needed_by)} {'needs' if len(needed_by) == 1 else 'need'} it",
            where=display_path(self.path),
            fix=f"remove {', '.join(needed_by)} as well, or keep {word}",
        )

    def _list_dependents(self, word: str) -> list[str]:
        """Components of the edited manifest that need one of this name."""
        return [
            name
            for name, needs in self._read_documents().resolver.list_needs().items()
            if any(word in (need, need.partition("/")[2]) for need in needs)
        ]

    def _parse_kept_file(self, word: str) -> KeptFile | None:
        """PACKAGE/FILE; None for a component: its part before the slash is a section."""
        if word.startswith("/"):
            raise UsageError(
                f"{word} names no package",
                fix=f"write PACKAGE{word}; `minbuild why` and apt-file know the package",
            )
        match = _KEPT_FILE.fullmatch(word)
        if match is None or match["package"] in set(Section):
            return None
        path = match["path"]
        if path in {name.partition("/")[2] for name in self._component_path.list_files()}:
            return None  # a component with a misspelt section
        if ":" not in word and "/" not in path:
            path = f"/usr/*bin/{path}"
        return KeptFile(match["package"], path if path.startswith("/") else f"/{path}")

    def _find_keep_list(self) -> tuple[str, ...]:
        return ("keep", "add") if self._editor.is_mapping(("keep",)) else ("keep",)

    def _list_kept(self) -> list[tuple[tuple[str | int, ...], KeptFile]]:
        """Each kept path of this document with its position in it."""
        top = self._find_keep_list()
        kept: list[tuple[tuple[str | int, ...], KeptFile]] = []
        for number in range(self._editor.count_items(top)):
            package = self._editor.get_text((*top, number, "package"))
            for index, path in enumerate(self._editor.list_texts((*top, number, "paths"))):
                kept.append(((*top, number, "paths", index), KeptFile(package, path)))
        return kept

    def _add_kept_file(self, kept: KeptFile) -> str:
        present = self._list_kept()
        if kept in [file for _, file in present]:
            return f"{kept.path} of {kept.package} is kept already"
        same_package = [position for position, file in present if file.package == kept.package]
        if same_package:
            self._editor.add_item(same_package[-1][:-1], quote_scalar(kept.path))
        else:
            item = f"{{package: {kept.package}, paths: [{quote_scalar(kept.path)}]}}"
            self._editor.add_item(self._find_keep_list(), item, _list_keys_before("keep"))
        return f"keeps {kept.path} of {kept.package}"

    def _remove_kept_file(self, kept: KeptFile) -> str:
        present = self._list_kept()
        for position, file in present:
            if file == kept:
                if len(self._editor.list_texts(position[:-1])) > 1:
                    self._editor.remove_item(position[:-1], _as_index(position[-1]))
                else:
                    self._editor.remove_item(position[:-3], _as_index(position[-3]))
                return f"no longer keeps {kept.path} of {kept.package}"
        names = [f"{file.package}{file.path}" for _, file in present]
        raise UsageError(
            f"the manifest does not keep {kept.path} of {kept.package}",
            where=display_path(self.path),
            fix=suggest(f"{kept.package}{kept.path}", names, otherwise="it keeps no file itself"),
        )


def _as_index(part: str | int) -> int:
    assert isinstance(part, int)
    return part


def _render_value(value: VariableValue) -> str:
    """A variable's value as YAML on one line."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            return quote_scalar(value)
        case tuple():
            return f"[{', '.join(map(quote_scalar, value))}]"


def _list_keys_before(name: str) -> tuple[str, ...]:
    """Keys of a manifest that come before this one in the reference."""
    return _KEYS[: _KEYS.index(name)]
