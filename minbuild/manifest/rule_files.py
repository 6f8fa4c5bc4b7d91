"""Rule files: grammar, and the rule set that they are loaded into."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from minbuild.data import data_directory
from minbuild.manifest.document import yaml_reader
from minbuild.manifest.document.containers import Key, ListOf, Record
from minbuild.manifest.document.nodes import Node, Problems
from minbuild.manifest.document.scalars import Boolean, Json, Keyword, ReadContext, Text
from minbuild.manifest.input_files import InputFiles, display_path
from minbuild.manifest.model import Location, Priority


@dataclass(frozen=True, slots=True)
class Rule:
    """A data rule: a trigger (`file`, `linked` or `value`) and the files it needs."""

    where: Location
    needs: tuple[str, ...]
    """Paths or globs with `{placeholders}`; the first existing one is included, of a glob all matches."""
    file: str = ""
    """Glob of the path that triggers the rule."""
    linked: str = ""
    """Soname or glob: every ELF file with it in DT_NEEDED triggers the rule."""
    value: str = ""
    """Regular expression for a value in `data: {TOPIC: [...]}`; its named groups are placeholders."""
    line: str = ""
    """Regular expression for a line of the file; its named groups are placeholders."""
    each: str = ""
    """Regular expression: each match in the group `rest` of the line (or in the line) is a need."""
    own: bool = False
    """True: only files of the same package."""
    package: str = ""
    """The package of the needed files, with `{placeholders}`; "" for the file's own package."""
    priority: Priority = Priority.REQUIRED
    """Only required files are included; others are listed."""
    because: str = ""
    topic: str = ""
    """Name of the rule file."""


@dataclass(frozen=True, slots=True)
class InstallRule:
    """A path that a maintainer script creates when its package is installed."""

    where: Location
    package: str
    path: str
    alternative: str = ""
    """A link to this name in /etc/alternatives, which is a link to `to`."""
    to: str = ""
    copies: str = ""
    """The file of the package that it is a copy of."""
    joins: str = ""
    """Glob of files of the package that it is the concatenation of."""


@dataclass(frozen=True, slots=True)
class RawRuleFile:
    """A rule file as written."""

    where: Location
    summary: str
    source: str = ""
    rules: tuple[Rule, ...] = ()
    installs: tuple[InstallRule, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules, in the order of their files."""

    rules: tuple[Rule, ...] = ()
    installs: tuple[InstallRule, ...] = ()
    topics: tuple[str, ...] = ()
    """Names of all rule files, sorted."""


NO_RULES = RuleSet()


RULES_DIRECTORY = "rules"
"""Directory of rule files in a directory of components, next to the sections."""
TOPIC_PATTERN = "[a-z0-9][a-z0-9-]*"


def find_rule_files(directories: Sequence[Path]) -> tuple[Path, ...]:
    """Return the rule files of directories of components and the shipped ones, sorted by topic.

    Of two with the same name, the one in the first directory counts.
    """
    files: dict[str, Path] = {}
    for directory in (*directories, data_directory("manifests") / "components"):
        for path in sorted((directory / RULES_DIRECTORY).glob("*.yaml")):
            if re.fullmatch(TOPIC_PATTERN, path.stem):
                files.setdefault(path.stem, path)
    return tuple(files[topic] for topic in sorted(files))


def report_misnamed(directories: Sequence[Path], problems: Problems) -> None:
    """Add a problem for each YAML file beside the rules that is not read because of its name."""
    for directory in directories:
        for path in sorted((directory / RULES_DIRECTORY).glob("*.y*ml")):
            if path.suffix != ".yaml" or not re.fullmatch(TOPIC_PATTERN, path.stem):
                name = re.sub("[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "rules"
                message = f"{display_path(path)} is not read: its name is not that of a rule file"
                problems.add(message, display_path(path), f"rename it to {name}.yaml")


@dataclass(frozen=True, slots=True)
class RegularExpression:
    """Shape of a regular expression of Python's re."""

    def read(self, node: Node, context: ReadContext) -> str | None:
        text = Text("a regular expression", template=False).read(node, context)
        try:
            with warnings.catch_warnings(action="error", category=FutureWarning):
                re.compile(text or "")
        except (re.error, OverflowError, RecursionError, FutureWarning) as error:
            message = f"{text!r} is not a regular expression of one meaning: {error}"
            fix = "correct it; see the documentation of Python's module re"
            context.problems.add(message, node.where, fix)
            return None
        return text

    def schema(self) -> Json:
        return {"type": "string", "format": "regex"}


_PATH_PATTERN = Text("an absolute path", "[/{][^\\x00]*", "begin it with /", template=False)
_PLAIN_TEXT = Text(template=False)
_RULE: Record[Rule] = Record(
    Rule,
    "A trigger (file, linked or value), and the files that it needs.",
    (
        Key("file", _PATH_PATTERN, "Path or glob of the file that triggers the rule."),
        Key(
            "linked",
            _PLAIN_TEXT,
            "Soname or glob: programs and libraries that link it directly trigger the rule.",
        ),
        Key(
            "value",
            RegularExpression(),
            "A value in the manifest that triggers the rule: data: {TOPIC: [VALUE]}.",
        ),
        Key(
            "line",
            RegularExpression(),
            "A line of the file must contain this; named groups are placeholders.",
        ),
        Key(
            "each",
            RegularExpression(),
            "Each match in the group `rest` of the line is a separate need.",
        ),
        Key(
            "needs",
            ListOf(_PATH_PATTERN, min_items=1),
            "Paths or globs with {placeholders}; the first existing one is included.",
            required=True,
        ),
        Key(
            "own", Boolean(only_true=True), "true: only files of the same package, or of `package`."
        ),
        Key("package", _PLAIN_TEXT, "The package of the needed files, with {placeholders}."),
        Key(
            "priority", Keyword("priority", Priority), "required files are included, others listed."
        ),
        Key("because", _PLAIN_TEXT, "The reason, for people."),
    ),
    exclusive=(("file", "value"), ("linked", "value")),
)
_INSTALL: Record[InstallRule] = Record(
    InstallRule,
    "A path that a maintainer script creates.",
    (
        Key("package", _PLAIN_TEXT, "The package.", required=True),
        Key("path", _PATH_PATTERN, "The created path.", required=True),
        Key("alternative", _PLAIN_TEXT, "The path is a link to this name in /etc/alternatives."),
        Key("to", _PATH_PATTERN, "The file of the package that the alternative links to."),
        Key("copies", _PATH_PATTERN, "The path is a copy of this file of the package."),
        Key(
            "joins",
            _PATH_PATTERN,
            "The path is the concatenation of these files of the package (glob).",
        ),
    ),
    one_of=("alternative", "copies", "joins"),
)
RULE_FILE: Record[RawRuleFile] = Record(
    RawRuleFile,
    "Rules: rules/TOPIC.yaml.",
    (
        Key("summary", Text(template=False), "One line, for people.", required=True),
        Key("source", _PLAIN_TEXT, "The source of the facts: a manual page or specification."),
        Key("rules", ListOf(_RULE), "Triggers and the files that they need."),
        Key("installs", ListOf(_INSTALL), "Paths that maintainer scripts create."),
    ),
)


def load_rules(files: Sequence[Path] | None = None) -> RuleSet:
    """Load rule files; by default the shipped ones.

    Raises: ManifestError with every problem of every file.
    """
    problems = Problems()
    inputs = InputFiles(problems)
    paths = find_rule_files(()) if files is None else files
    contents = tuple((path, inputs.read(path, display_path(path))) for path in paths)
    return _build_rules(contents, problems) if len(problems) else _build_rules_cached(contents)


@lru_cache(maxsize=8)
def _build_rules_cached(contents: tuple[tuple[Path, bytes | None], ...]) -> RuleSet:
    """Build a rule set once: a build needs it to resolve and to verify."""
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
"""Placeholders of every rule: the architecture's triplet; name and directory of the file; the value
of the manifest, and its first letter."""


def _check_rules(raw: RawRuleFile, problems: Problems) -> None:
    """Add problems for unknown placeholders, rules without a trigger, and `line:` without `file:`."""
    for rule in raw.rules:
        if not (rule.file or rule.linked or rule.value):
            problems.add("the rule has no trigger", rule.where, "give one of: file, linked, value")
        expressions = (rule.line, rule.each, rule.value)
        groups = {name for text in expressions for name in re.compile(text).groupindex}
        for text in (*rule.needs, rule.package):
            for name in _PLACEHOLDER.findall(text):
                if name not in groups and name not in BUILTIN_PLACEHOLDERS:
                    known = ", ".join(sorted({*groups, *BUILTIN_PLACEHOLDERS}))
                    problems.add(
                        f"unknown placeholder {{{name}}}", rule.where, f"write one of: {known}"
                    )
        if (rule.line or rule.each) and not rule.file:
            problems.add(
                "`line:` and `each:` require `file:`", rule.where, "add file: with a path or glob"
            )
