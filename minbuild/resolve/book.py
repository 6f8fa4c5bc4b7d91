"""A rulebook made ready: which rules a path, a library's name or a wish sets off."""

import re
from collections.abc import Iterator

from minbuild.facts.types import Elf, FileFacts
from minbuild.manifest.rule import NO_RULES, Rule, Rulebook
from minbuild.paths import RootPath, rootpath
from minbuild.resolve import pattern


class Book:
    """The rules of one resolve, found without trying each of them on each path."""

    def __init__(self, rulebook: Rulebook = NO_RULES) -> None:
        self.topics = rulebook.topics
        self._files = [
            (pattern.compiled(str(rootpath(rule.file))), rule)
            for rule in rulebook.rules
            if rule.file and not rule.linked
        ]
        self._any_file = re.compile("|".join(one.pattern for one, _ in self._files) or "(?!)")
        self._linked = [rule for rule in rulebook.rules if rule.linked]
        self._any_library = re.compile(
            "|".join(pattern.compiled(rule.linked).pattern for rule in self._linked) or "(?!)"
        )
        self._values = [rule for rule in rulebook.rules if rule.value]

    def of_file(self, path: RootPath, facts: FileFacts | None) -> Iterator[tuple[Rule, str]]:
        """Rules that a chosen path sets off, each with what it was that did.

        They name merged paths, and mean /bin of a root where that is a directory, too.
        """
        merged = rootpath(path)
        if self._any_file.fullmatch(merged):
            for match, rule in self._files:
                if match.fullmatch(merged):
                    yield rule, ""
        if isinstance(facts, Elf) and self._linked:
            for soname in facts.needed:
                if self._any_library.fullmatch(soname):
                    for rule in self._linked:
                        here = not rule.file or pattern.matches(rule.file, merged)
                        if here and pattern.matches(rule.linked, soname):
                            yield rule, soname

    def of_value(self, topic: str, value: str) -> Iterator[tuple[Rule, dict[str, str]]]:
        """Rules of a topic that tell what a wish comes to, each with the names that it gives."""
        for rule in self._values:
            found = re.fullmatch(rule.value, value) if rule.topic == topic else None
            if found:
                yield rule, {name: text for name, text in found.groupdict().items() if text}
