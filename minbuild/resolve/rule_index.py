"""Index of data rules: those that a path, a library name or a value matches."""

import re
from collections.abc import Iterator

from minbuild.facts.model import Elf, FileFacts
from minbuild.manifest.rule_files import NO_RULES, Rule, RuleSet
from minbuild.paths import RootPath, to_root_path
from minbuild.resolve import path_glob


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
