"""Files of rules: what they may say, and how they become a rulebook."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from minbuild.data import data_directory
from minbuild.manifest.document import yaml_reader
from minbuild.manifest.document.containers import Key, ListOf, Record
from minbuild.manifest.document.nodes import Node
from minbuild.manifest.document.problems import Problems
from minbuild.manifest.document.scalars import Boolean, Keyword, Text
from minbuild.manifest.document.schema import Json, ReadContext
from minbuild.manifest.input_files import InputFiles, display_path
from minbuild.manifest.model import Location, Priority


@dataclass(frozen=True, slots=True)
class Rule:
    """When a file, a program or a wish is there, other files are needed."""

    where: Location
    needs: tuple[str, ...]
    """Paths or globs with `{names}`; the first that is there is taken, of a glob every match."""
    file: str = ""
    """Glob of the path that sets the rule off."""
    linked: str = ""
    """Soname or glob: every ELF file that names it in DT_NEEDED sets the rule off."""
    value: str = ""
    """Regular expression of what a manifest asks for: `data: {TOPIC: [...]}`; its named groups are
    names."""
    line: str = ""
    """Regular expression that a line of the file must hold; its named groups are names."""
    each: str = ""
    """Regular expression: each match in the line's group `rest` (or the line) is a need."""
    own: bool = False
    """Only files of the package that the file came from."""
    package: str = ""
    """Who has what is needed, with `{names}`; "" for the file's own package."""
    priority: Priority = Priority.REQUIRED
    """Only what is required is taken; the rest is listed."""
    because: str = ""
    topic: str = ""
    """The name of the rule's document."""


@dataclass(frozen=True, slots=True)
class InstallRule:
    """A path that a package's maintainer script makes when the package is installed."""

    where: Location
    package: str
    path: str
    alternative: str = ""
    """A link to this name in /etc/alternatives, which is a link to `to`."""
    to: str = ""
    copies: str = ""
    """The package's file that it is a copy of."""
    joins: str = ""
    """Glob of the package's files, which it holds one after the other."""


@dataclass(frozen=True, slots=True)
class RawRuleFile:
    """A file of rules as it is written."""

    where: Location
    summary: str
    source: str = ""
    rules: tuple[Rule, ...] = ()
    installs: tuple[InstallRule, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Every rule, by the order of its document's name."""

    rules: tuple[Rule, ...] = ()
    installs: tuple[InstallRule, ...] = ()
    topics: tuple[str, ...] = ()
    """Names of all documents, sorted."""


NO_RULES = RuleSet()


RULES_DIRECTORY = "rules"
"""Beside the sections, in every directory of components."""
TOPIC_PATTERN = "[a-z0-9][a-z0-9-]*"


def find_rule_files(directories: Sequence[Path]) -> tuple[Path, ...]:
    """The files of rules in directories of components and those that ship, sorted by topic.

    Of two with one name the first directory's holds.
    """
    files: dict[str, Path] = {}
    for directory in (*directories, data_directory("manifests") / "components"):
        for path in sorted((directory / RULES_DIRECTORY).glob("*.yaml")):
            if re.fullmatch(TOPIC_PATTERN, path.stem):
                files.setdefault(path.stem, path)
    return tuple(files[topic] for topic in sorted(files))


@dataclass(frozen=True, slots=True)
class RegularExpression:
    """A regular expression of Python's re."""

    def read(self, node: Node, context: ReadContext) -> str | None:
        text = Text("a regular expression", template=False).read(node, context)
        try:
            re.compile(text or "")
        except (re.error, OverflowError, RecursionError) as error:
            message = f"{text!r} is not a regular expression: {error}"
            fix = "correct it; the documentation of Python's re says how they are written"
            context.problems.add(message, node.where, fix)
            return None
        return text

    def schema(self) -> Json:
        return {"type": "string", "format": "regex"}


_PATH_PATTERN = Text("an absolute path", "[/{][^\\x00]*", "begin it with /", template=False)
_PLAIN_TEXT = Text(template=False)
_RULE: Record[Rule] = Record(
    Rule,
    "When one file is there, others are needed.",
    (
        Key("file", _PATH_PATTERN, "Path or glob: the file that sets the rule off."),
        Key("linked", _PLAIN_TEXT, "Soname or glob: programs and libraries that need it directly."),
        Key("value", RegularExpression(), "What a manifest may ask for: data: {TOPIC: [VALUE]}."),
        Key(
            "line",
            RegularExpression(),
            "What a line of the file must hold; named groups are names.",
        ),
        Key(
            "each",
            RegularExpression(),
            "Each match in the line's group `rest` is a need of its own.",
        ),
        Key(
            "needs",
            ListOf(_PATH_PATTERN, min_items=1),
            "Paths or globs with {names}; the first that is there is taken.",
            required=True,
        ),
        Key("own", Boolean(only_true=True), "true: only files of that package, or of `package`."),
        Key("package", _PLAIN_TEXT, "The package that has them, with {names}."),
        Key("priority", Keyword("priority", Priority), "required: taken; any other: listed."),
        Key("because", _PLAIN_TEXT, "Why, for people."),
    ),
    exclusive=(("file", "value"), ("linked", "value")),
)
_INSTALL: Record[InstallRule] = Record(
    InstallRule,
    "A path that a package's maintainer script makes.",
    (
        Key("package", _PLAIN_TEXT, "The package.", required=True),
        Key("path", _PATH_PATTERN, "What is made.", required=True),
        Key("alternative", _PLAIN_TEXT, "A link to this name in /etc/alternatives."),
        Key("to", _PATH_PATTERN, "The package's file that the alternative is for."),
        Key("copies", _PATH_PATTERN, "A copy of this file of the package."),
        Key("joins", _PATH_PATTERN, "Glob: the package's files, one after the other."),
    ),
    one_of=("alternative", "copies", "joins"),
)
RULE_FILE: Record[RawRuleFile] = Record(
    RawRuleFile,
    "Rules: rules/TOPIC.yaml.",
    (
        Key("summary", Text(template=False), "One line, for people.", required=True),
        Key("source", _PLAIN_TEXT, "Where the facts come from: a manual page, a specification."),
        Key("rules", ListOf(_RULE), "What is needed when."),
        Key("installs", ListOf(_INSTALL), "What maintainer scripts make of a package."),
    ),
)


def load_rules(files: Sequence[Path] | None = None) -> RuleSet:
    """Read files of rules; those that ship by default.

    Raises: ManifestError with every problem of every file.
    """
    problems = Problems()
    inputs = InputFiles(problems)
    paths = find_rule_files(()) if files is None else files
    contents = tuple((path, inputs.read(path, display_path(path))) for path in paths)
    return _build_rules(contents, problems) if len(problems) else _build_rules_cached(contents)


@lru_cache(maxsize=8)
def _build_rules_cached(contents: tuple[tuple[Path, bytes | None], ...]) -> RuleSet:
    """Read the contents of files once: a build asks for them when it resolves and when it proves."""
    return _build_rules(contents, Problems())


def _build_rules(contents: tuple[tuple[Path, bytes | None], ...], problems: Problems) -> RuleSet:
    rules: list[Rule] = []
    installs: list[InstallRule] = []
    for path, data in contents:
        node = (
            None if data is None else yaml_reader.parse_document(data, display_path(path), problems)
        )
        raw = None if node is None else RULE_FILE.read(node, ReadContext(problems))
        if raw is not None:
            _check_rules(raw, problems)
            rules += (replace(rule, topic=path.stem) for rule in raw.rules)
            installs += raw.installs
    problems.raise_if_any()
    return RuleSet(tuple(rules), tuple(installs), tuple(path.stem for path, _ in contents))


_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
BUILTIN_PLACEHOLDERS = ("triplet", "name", "directory", "value", "initial")
"""Names of every rule: the architecture's; the file's last name and its directory; what was asked
for, and its first letter."""


def _check_rules(raw: RawRuleFile, problems: Problems) -> None:
    """Refuse names that nothing fills in, and an `each` or `line` without a file to read."""
    for rule in raw.rules:
        if not (rule.file or rule.linked or rule.value):
            problems.add(
                "nothing sets the rule off", rule.where, "give one of: file, linked, value"
            )
        expressions = (rule.line, rule.each, rule.value)
        groups = {name for text in expressions for name in re.compile(text).groupindex}
        for text in (*rule.needs, rule.package):
            for name in _PLACEHOLDER.findall(text):
                if name not in groups and name not in BUILTIN_PLACEHOLDERS:
                    known = ", ".join(sorted({*groups, *BUILTIN_PLACEHOLDERS}))
                    problems.add(
                        f"nothing fills in {{{name}}}", rule.where, f"write one of: {known}"
                    )
        if (rule.line or rule.each) and not rule.file:
            problems.add("lines are read of a file, and none is named", rule.where, "name a file:")
