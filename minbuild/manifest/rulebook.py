"""Files of rules: what they may say, and how they become a rulebook."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from minbuild.manifest import document
from minbuild.manifest.inputs import Inputs, shown
from minbuild.manifest.nodes import Node
from minbuild.manifest.problems import Problems
from minbuild.manifest.rule import Install, Rule, Rulebook, RuleDocument
from minbuild.manifest.scalars import Choice, Flag, Text
from minbuild.manifest.shape import Json, Reading
from minbuild.manifest.shapes import Key, Many, Record
from minbuild.manifest.topics import rule_files
from minbuild.manifest.types import Priority


@dataclass(frozen=True, slots=True)
class Expression:
    """A regular expression of Python's re."""

    def read(self, node: Node, reading: Reading) -> str | None:
        text = Text("a regular expression", template=False).read(node, reading)
        try:
            re.compile(text or "")
        except (re.error, OverflowError, RecursionError) as error:
            what = f"{text!r} is not a regular expression: {error}"
            fix = "correct it; the documentation of Python's re says how they are written"
            reading.problems.add(what, node.where, fix)
            return None
        return text

    def schema(self) -> Json:
        return {"type": "string", "format": "regex"}


_PATH = Text("an absolute path", "[/{][^\\x00]*", "begin it with /", template=False)
_TEXT = Text(template=False)
_RULE: Record[Rule] = Record(
    Rule,
    "When one file is there, others are needed.",
    (
        Key("file", _PATH, "Path or glob: the file that sets the rule off."),
        Key("linked", _TEXT, "Soname or glob: programs and libraries that need it directly."),
        Key("value", Expression(), "What a manifest may ask for: data: {TOPIC: [VALUE]}."),
        Key("line", Expression(), "What a line of the file must hold; named groups are names."),
        Key("each", Expression(), "Each match in the line's group `rest` is a need of its own."),
        Key(
            "needs",
            Many(_PATH, least=1),
            "Paths or globs with {names}; the first that is there is taken.",
            required=True,
        ),
        Key("own", Flag(only_true=True), "true: only files of that package, or of `package`."),
        Key("package", _TEXT, "The package that has them, with {names}."),
        Key("priority", Choice("priority", Priority), "required: taken; any other: listed."),
        Key("because", _TEXT, "Why, for people."),
    ),
    apart=(("file", "value"), ("linked", "value")),
)
_INSTALL: Record[Install] = Record(
    Install,
    "A path that a package's maintainer script makes.",
    (
        Key("package", _TEXT, "The package.", required=True),
        Key("path", _PATH, "What is made.", required=True),
        Key("alternative", _TEXT, "A link to this name in /etc/alternatives."),
        Key("to", _PATH, "The package's file that the alternative is for."),
        Key("copies", _PATH, "A copy of this file of the package."),
        Key("joins", _PATH, "Glob: the package's files, one after the other."),
    ),
    one_of=("alternative", "copies", "joins"),
)
RULES: Record[RuleDocument] = Record(
    RuleDocument,
    "Rules: rules/TOPIC.yaml.",
    (
        Key("summary", Text(template=False), "One line, for people.", required=True),
        Key("source", _TEXT, "Where the facts come from: a manual page, a specification."),
        Key("rules", Many(_RULE), "What is needed when."),
        Key("installs", Many(_INSTALL), "What maintainer scripts make of a package."),
    ),
)


def rulebook(files: Sequence[Path] | None = None) -> Rulebook:
    """Read files of rules; those that ship by default.

    Raises: ManifestError with every problem of every file.
    """
    problems = Problems()
    inputs = Inputs(problems)
    paths = rule_files(()) if files is None else files
    given = tuple((path, inputs.read(path, shown(path))) for path in paths)
    return _made(given, problems) if len(problems) else _sound(given)


@lru_cache(maxsize=8)
def _sound(given: tuple[tuple[Path, bytes | None], ...]) -> Rulebook:
    """Read the contents of files once: a build asks for them when it resolves and when it proves."""
    return _made(given, Problems())


def _made(given: tuple[tuple[Path, bytes | None], ...], problems: Problems) -> Rulebook:
    rules: list[Rule] = []
    installs: list[Install] = []
    for path, data in given:
        node = None if data is None else document.parse(data, shown(path), problems)
        made = None if node is None else RULES.read(node, Reading(problems))
        if made is not None:
            _check(made, problems)
            rules += (replace(rule, topic=path.stem) for rule in made.rules)
            installs += made.installs
    problems.check()
    return Rulebook(tuple(rules), tuple(installs), tuple(path.stem for path, _ in given))


_NAME = re.compile(r"\{([^{}]*)\}")
KNOWN_NAMES = ("triplet", "name", "directory", "value", "initial")
"""Names of every rule: the architecture's; the file's last name and its directory; what was asked
for, and its first letter."""


def _check(made: RuleDocument, problems: Problems) -> None:
    """Refuse names that nothing fills in, and an `each` or `line` without a file to read."""
    for rule in made.rules:
        if not (rule.file or rule.linked or rule.value):
            problems.add(
                "nothing sets the rule off", rule.where, "give one of: file, linked, value"
            )
        read = (rule.line, rule.each, rule.value)
        groups = {name for text in read for name in re.compile(text).groupindex}
        for text in (*rule.needs, rule.package):
            for name in _NAME.findall(text):
                if name not in groups and name not in KNOWN_NAMES:
                    known = ", ".join(sorted({*groups, *KNOWN_NAMES}))
                    problems.add(
                        f"nothing fills in {{{name}}}", rule.where, f"write one of: {known}"
                    )
        if (rule.line or rule.each) and not rule.file:
            problems.add("lines are read of a file, and none is named", rule.where, "name a file:")
