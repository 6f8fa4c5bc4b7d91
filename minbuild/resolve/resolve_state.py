"""State that every rule reads: package view, loader, kernel, waivers, and the index of data rules."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from minbuild.facts.model import Elf, FileEntry, FileFacts
from minbuild.manifest.rule_files import NO_RULES, Rule, RuleSet
from minbuild.paths import RootPath, to_root_path
from minbuild.resolve import path_glob
from minbuild.resolve.kernel import MODULES_DIRECTORY, InstalledKernel
from minbuild.resolve.ldso import DynamicLoader
from minbuild.resolve.model import OptionalFile
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.policy import Waivers


class RuleIndex:
    """The rules of one resolve, found without trying each of them on each path."""

    def __init__(self, rulebook: RuleSet = NO_RULES) -> None:
        self.topics = rulebook.topics
        self._file_rules = [
            (path_glob.compile_glob(str(to_root_path(rule.file))), rule)
            for rule in rulebook.rules
            if rule.file and not rule.linked
        ]
        self._any_file_pattern = re.compile(
            "|".join(one.pattern for one, _ in self._file_rules) or "(?!)"
        )
        self._library_rules = [rule for rule in rulebook.rules if rule.linked]
        self._any_library_pattern = re.compile(
            "|".join(path_glob.compile_glob(rule.linked).pattern for rule in self._library_rules)
            or "(?!)"
        )
        self._value_rules = [rule for rule in rulebook.rules if rule.value]

    def match_file(self, path: RootPath, facts: FileFacts | None) -> Iterator[tuple[Rule, str]]:
        """Rules that a selected path matches, each with the soname that matched, or "".

        They name merged paths, and mean /bin of a root where that is a directory, too.
        """
        merged = to_root_path(path)
        if self._any_file_pattern.fullmatch(merged):
            for file_pattern, rule in self._file_rules:
                if file_pattern.fullmatch(merged):
                    yield rule, ""
        if isinstance(facts, Elf) and self._library_rules:
            for soname in facts.needed:
                if self._any_library_pattern.fullmatch(soname):
                    for rule in self._library_rules:
                        file_matches = not rule.file or path_glob.matches(rule.file, merged)
                        if file_matches and path_glob.matches(rule.linked, soname):
                            yield rule, soname

    def match_value(self, topic: str, value: str) -> Iterator[tuple[Rule, dict[str, str]]]:
        """Rules of a topic that match a value, each with its named groups."""
        for rule in self._value_rules:
            match = re.fullmatch(rule.value, value) if rule.topic == topic else None
            if match:
                yield rule, {name: text for name, text in match.groupdict().items() if text}


@dataclass(slots=True)
class ResolveState:
    """The state of one resolve."""

    view: PackageView
    waivers: Waivers
    loader: DynamicLoader
    kernel: InstalledKernel
    rule_index: RuleIndex
    builtin_modules: dict[str, str] = field(default_factory=dict)
    """Modules, and `firmware NAME`, asked for that are built in → who asked first."""
    skipped_softdeps: dict[str, str] = field(default_factory=dict)
    """Names that may be absent and are (softdeps) → who asked first."""
    take_firmware: bool = True
    """False: what modules name is noted as skipped."""
    require_softdeps: bool = False
    """Softdeps must be met, unless they are known to be built in or absent."""
    known_builtin: Mapping[str, str] = field(default_factory=dict)
    known_skipped: Mapping[str, str] = field(default_factory=dict)
    strings: Mapping[RootPath, tuple[str, ...]] = field(default_factory=dict)
    """Paths that a file names in its text, of files whose names are followed."""
    optional_files: set[OptionalFile] = field(default_factory=set)
    other_kernels: dict[str, InstalledKernel] = field(default_factory=dict)
    """Of a root with several, those that modules were looked up in, by release."""

    def find_kernel(self, path: str) -> InstalledKernel:
        """The kernel that loads the module at `path`: an installed root may have several.

        A module that is with another release's, and not with a kernel's own (extra/ for links in
        weak-updates/), is loaded by the kernel of the image.
        """
        if self.view.is_image or not path.startswith(f"{MODULES_DIRECTORY}/"):
            return self.kernel
        version = path.split("/")[4]
        if version == self.kernel.version:
            return self.kernel
        kernel = self.other_kernels.setdefault(version, InstalledKernel(self.view, version))
        own_directory = f"{kernel.directory}/kernel/"
        return (
            kernel
            if any(one.startswith(own_directory) for one in kernel.modules.values())
            else self.kernel
        )

    @property
    def triplet(self) -> str:
        return self.loader.architecture.triplet

    def note_builtin(self, name: str, needed_by: str) -> None:
        """Remember that `needed_by` asked for a module that the kernel has built in."""
        self.builtin_modules[name] = min(needed_by, self.builtin_modules.get(name, needed_by))

    def note_skipped(self, name: str, needed_by: str) -> None:
        """Remember that `needed_by` would use `name` if there were one."""
        self.skipped_softdeps[name] = min(needed_by, self.skipped_softdeps.get(name, needed_by))


@dataclass(frozen=True, slots=True)
class RuleInput:
    """One chosen path that the rules look at."""

    path: RootPath
    entry: FileEntry
    facts: FileFacts | None
