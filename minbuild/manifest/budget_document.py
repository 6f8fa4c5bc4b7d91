"""How limits are written: in a manifest's `budget:`, or in a budget file of their own.

minbuild-budget: 1
totals: {files: 48, packed: 17.6 MB}
components: {"*": {bytes: 8 MB}}
surface: {setuid: 0, listener: 0}
waivers: [{rule: totals.files, because: "until the new kernel", expires: 2027-03-01}]
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from pathlib import Path
from typing import Generic, TypeVar

from minbuild.errors import ManifestError
from minbuild.manifest.document import yaml_reader
from minbuild.manifest.document.containers import Key, ListOf, MapOf, Record
from minbuild.manifest.document.location import LocatedName, Location
from minbuild.manifest.document.nodes import MappingNode, Node, SequenceNode
from minbuild.manifest.document.problems import Problems, suggest
from minbuild.manifest.document.scalars import Boolean, Integer, Located, Size, TemplatedValue, Text
from minbuild.manifest.document.schema import Json, ReadContext, ValueShape
from minbuild.manifest.input_files import InputFiles, display_path
from minbuild.manifest.limits import (
    AllowedFindings,
    Budget,
    BudgetWaiver,
    DenyList,
    FindingKind,
    FindingLimit,
    GrowthLimit,
    GrowthThreshold,
    Limit,
    Limits,
    OwnerLimits,
    PartitionBudget,
    PartitionSize,
)

T = TypeVar("T")
VERSION_KEY = "minbuild-budget"
_WRITTEN_VALUE = re.compile(r"\"[^\"]*\"|'[^']*'|[^,}\]#\n]*[^,}\]#\n\s]")
"""A scalar as it stands in a line, quoted or plain."""


@dataclass(frozen=True, slots=True)
class _RawWaiver:
    rule: LocatedName
    owner: str
    because: str
    expires: LocatedName
    where: Location


@dataclass(frozen=True, slots=True)
class _LocatedLimit(Generic[T]):
    """A number together with its place."""

    shape: ValueShape[int]
    is_size: bool

    def read(self, node: Node, context: ReadContext) -> Limit | None:
        value = self.shape.read(node, context)
        return None if value is None else Limit(value, node.where, self.is_size)

    def schema(self) -> Json:
        return self.shape.schema()


@dataclass(frozen=True, slots=True)
class _FindingLimitShape:
    """How many findings there may be, or a list of which."""

    number: ValueShape[Limit]
    names: ValueShape[tuple[LocatedName, ...]]

    def read(self, node: Node, context: ReadContext) -> Limit | AllowedFindings | None:
        if not isinstance(node, SequenceNode):
            return self.number.read(node, context)
        names = self.names.read(node, context)
        return None if names is None else AllowedFindings(names, node.where)

    def schema(self) -> Json:
        return {"anyOf": [self.number.schema(), self.names.schema()]}


_SIZE_LIMIT: ValueShape[Limit] = _LocatedLimit(Size(), is_size=True)
_INTEGER_LIMIT: ValueShape[Limit] = _LocatedLimit(Integer(), is_size=False)
_NAME = Text("a name", "[^\\x00]+", template=False)
_GLOBS = ListOf(Located(_NAME))
_FINDINGS: ValueShape[Limit | AllowedFindings] = _FindingLimitShape(_INTEGER_LIMIT, _GLOBS)
_LIMITS: ValueShape[Limits] = Record(
    Limits,
    "Limits of one owner.",
    (
        Key("files", _INTEGER_LIMIT, "Regular files."),
        Key("bytes", _SIZE_LIMIT, "Installed size."),
        Key("packed", _SIZE_LIMIT, "Packed size."),
    ),
)
_OWNER_LIMITS = MapOf(_NAME, _LIMITS, OwnerLimits)
_PARTITION: ValueShape[PartitionSize] = Record(
    PartitionSize,
    "Room on a disk that the image has to fit into.",
    (
        Key("size", _SIZE_LIMIT, "The room.", required=True),
        Key("slots", Integer(1, 64), "Copies of the image in it: 2 for A and B."),
        Key("reserve", Integer(0, 99), "Percent that stays free."),
    ),
)
_GROWTH_THRESHOLD: ValueShape[GrowthThreshold] = Record(
    GrowthThreshold,
    "Growth that fails: more than both.",
    (
        Key("bytes", _SIZE_LIMIT, "Bytes, or files where files are counted.", required=True),
        Key("percent", Integer(0, 1000), "Percent of the baseline."),
    ),
)
_WAIVER: ValueShape[_RawWaiver] = Record(
    _RawWaiver,
    "A rule that may fail for a while.",
    (
        Key("rule", Located(_NAME), "The rule as check prints it, or a glob.", required=True),
        Key("owner", _NAME, "Who answers for it: a person or a team.", required=True),
        Key("because", _NAME, "The reason, for people.", required=True),
        Key(
            "expires",
            Located(
                Text("a date", r"\d{4}-\d{2}-\d{2}", "write it like 2027-03-01", template=False)
            ),
            "The last day on which it holds, within a year.",
            required=True,
        ),
    ),
)
_DENY_LIST: ValueShape[DenyList] = Record(
    DenyList,
    "What may not be in the image.",
    (
        Key("paths", _GLOBS, "Paths or globs."),
        Key("packages", _GLOBS, "Packages or globs."),
        Key("components", _GLOBS, "Components or globs."),
    ),
)


@dataclass(frozen=True, slots=True)
class BudgetRules:
    """Rules beside those of the totals, as they are written."""

    sections: tuple[OwnerLimits, ...] = ()
    components: tuple[OwnerLimits, ...] = ()
    packages: tuple[OwnerLimits, ...] = ()
    partitions: tuple[PartitionBudget, ...] = ()
    surface: tuple[FindingLimit, ...] = ()
    deny: DenyList = field(default_factory=DenyList)
    new_components: Limit | None = None
    growth: tuple[GrowthLimit, ...] = ()
    shrink: Limit | None = None
    unowned: Limit | None = None
    waivers: tuple[_RawWaiver, ...] = ()


@dataclass(frozen=True, slots=True)
class RawBudget(BudgetRules):
    """A manifest's `budget:`."""

    files: Limit | None = None
    bytes: Limit | None = None
    packed: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _RawBudgetDocument(BudgetRules):
    minbuild_budget: int
    totals: Limits = field(default_factory=Limits)


_RULE_KEYS = (
    Key("sections", _OWNER_LIMITS, 'Limits by section; "*" is for all others.'),
    Key("components", _OWNER_LIMITS, 'Limits by component; "*" is for all others.'),
    Key("packages", _OWNER_LIMITS, 'Limits by package; "*" is for all others.'),
    Key(
        "partitions",
        MapOf(_NAME, _PARTITION, PartitionBudget),
        "Rooms that the image has to fit into.",
    ),
    Key(
        "surface",
        MapOf(_NAME, _FINDINGS, FindingLimit),
        "Findings of each kind: how many (setuid: 0), or which (modules: [kvm, tun]).",
    ),
    Key("deny", _DENY_LIST, "What may not be in the image."),
    Key(
        "new-components",
        _LocatedLimit(Boolean(), is_size=False),
        "false: a component that is new against the baseline fails.",
    ),
    Key(
        "growth", MapOf(_NAME, _GROWTH_THRESHOLD, GrowthLimit), "Growth of files, bytes or packed."
    ),
    Key(
        "shrink",
        _LocatedLimit(Integer(0, 99), is_size=False),
        "Percent below a total's limit from which it should be lowered.",
    ),
    Key("unowned", _INTEGER_LIMIT, "Files that no component owns."),
    Key("waivers", ListOf(_WAIVER), "Rules that may fail for a while."),
)
BUDGET_DOCUMENT: Record[_RawBudgetDocument] = Record(
    _RawBudgetDocument,
    "The limits that a pipeline holds an image to.",
    (
        Key(VERSION_KEY, Integer(1, 1), "The version of this format: 1.", required=True),
        Key("totals", _LIMITS, "Limits of the whole image."),
        *_RULE_KEYS,
    ),
)
MANIFEST_BUDGET: Record[RawBudget] = Record(
    RawBudget,
    "Limits; a build over one of its totals fails, and check judges all of them.",
    (
        Key("files", _LocatedLimit(TemplatedValue(Integer()), is_size=False),
            "Regular files, the kernel included."),
        Key("bytes", _SIZE_LIMIT, "Sum of their sizes."),
        Key("packed", _SIZE_LIMIT, "Size of the one file that boots."),
        *_RULE_KEYS,
    ),
)  # fmt: skip
MEASURES = ("files", "bytes", "packed")
_SINGULAR = {"executables": "executable", "modules": "module", "interpreters": "interpreter",
             "listeners": "listener", "logins": "login", "capabilities": "capability"}  # fmt: skip
"""Kinds of findings as a list of them is called."""


def build_manifest_budget(part: RawBudget, problems: Problems) -> Budget:
    """The budget that a manifest's `budget:` means."""
    return _build_budget(part, Limits(part.files, part.bytes, part.packed), problems)


def is_manifest_document(path: Path) -> bool:
    """Whether a file is a manifest, whose `budget:` is meant; false for a budget file."""
    problems = Problems()
    data = InputFiles(problems).read(path, display_path(path))
    node = None if data is None else yaml_reader.parse_document(data, display_path(path), problems)
    return isinstance(node, MappingNode) and "minbuild" in node.entries


def load_budget(path: Path) -> Budget:
    """Read a budget file.

    Raises: ManifestError with every problem of it.
    """
    problems = Problems()
    data = InputFiles(problems).read(path, display_path(path))
    if data is None and not len(problems):
        raise ManifestError(
            "there is no such budget file", where=display_path(path),
            fix="name one, or write it first: minbuild check IMAGE --budget FILE --update",
        )  # fmt: skip
    node = None if data is None else yaml_reader.parse_document(data, display_path(path), problems)
    raw = None if node is None else BUDGET_DOCUMENT.read(node, ReadContext(problems))
    budget = None if raw is None else _build_budget(raw, raw.totals, problems)
    problems.raise_if_any()
    assert budget is not None
    return budget


def _build_budget(rules: BudgetRules, totals: Limits, problems: Problems) -> Budget:
    counts = tuple(
        replace(growth, kind=_SINGULAR.get(growth.kind, growth.kind)) for growth in rules.surface
    )
    for count in counts:
        if count.kind not in list(FindingKind):
            message = f"there is no finding called {count.kind}"
            problems.add(message, count.where, suggest(count.kind, list(FindingKind)))
    for growth in rules.growth:
        if growth.measure not in MEASURES:
            message = f"growth is not measured in {growth.measure}"
            problems.add(message, growth.where, suggest(growth.measure, MEASURES))
    for waiver in rules.waivers:
        if not waiver.rule.text.strip("*?[]!.-"):
            fix = "name the rule, or a group of rules: components.*"
            problems.add(f"the waiver {waiver.rule.text} waives every rule", waiver.where, fix)
    waivers = tuple(
        BudgetWaiver(
            growth.rule,
            growth.owner,
            growth.because,
            _parse_date(growth.expires, problems),
            growth.where,
        )
        for growth in rules.waivers
    )
    converted = {"waivers", "surface"}
    unchanged = {
        growth.name: getattr(rules, growth.name)
        for growth in fields(BudgetRules)
        if growth.name not in converted
    }
    return Budget(totals=totals, waivers=waivers, surface=counts, **unchanged)


def _parse_date(text: LocatedName, problems: Problems) -> date | None:
    try:
        return date.fromisoformat(text.text)
    except ValueError:
        problems.add(f"{text.text} is no day", text.where, "write it like 2027-03-01")
        return None


def rewrite_limits(
    text: str, changes: Sequence[tuple[Limit, int]]
) -> tuple[str, tuple[Limit, ...]]:
    """Put new numbers in the places of limits; all else, comments too, stays as it is.

    Returns the text and the limits that were changed: a template is left as it is.
    """
    lines = text.splitlines(keepends=True)
    ordered = sorted(changes, key=lambda pair: (pair[0].where.line, -pair[0].where.column))
    rewritten = []
    for limit, value in ordered:
        row, column = limit.where.line - 1, limit.where.column - 1
        line = lines[row]
        old = _WRITTEN_VALUE.match(line, column)
        if old is not None and "{{" not in old[0]:
            lines[row] = f"{line[:column]}{value}{line[old.end() :]}"
            rewritten.append(limit)
    return "".join(lines), tuple(rewritten)
