"""Budget file, and the `budget:` of a manifest:

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

from minbuild.errors import ManifestError
from minbuild.manifest.budget_grammar import (
    DENY_LIST,
    FINDINGS,
    GROWTH_THRESHOLD,
    INTEGER_LIMIT,
    KERNEL,
    LIMITS,
    NAME,
    OWNER_LIMITS,
    PARTITION,
    SIZE_LIMIT,
    WAIVER,
    LocatedLimit,
    RawWaiver,
)
from minbuild.manifest.document import yaml_reader
from minbuild.manifest.document.containers import Key, ListOf, MapOf, Record
from minbuild.manifest.document.nodes import (
    LocatedName,
    MappingNode,
    Problems,
    suggest,
)
from minbuild.manifest.document.scalars import (
    Boolean,
    Integer,
    ReadContext,
    TemplatedValue,
)
from minbuild.manifest.input_files import InputFiles, display_path
from minbuild.manifest.limits import (
    Budget,
    BudgetWaiver,
    DenyList,
    FindingKind,
    FindingLimit,
    GrowthLimit,
    KernelBudget,
    Limit,
    Limits,
    OwnerLimits,
    PartitionBudget,
)

VERSION_KEY = "minbuild-budget"
_WRITTEN_VALUE = re.compile(r"\"[^\"]*\"|'[^']*'|[^,}\]#\n]*[^,}\]#\n\s]")
"""A scalar in a line, quoted or plain."""


@dataclass(frozen=True, slots=True)
class BudgetRules:
    """Rules besides those of the totals, as written."""

    sections: tuple[OwnerLimits, ...] = ()
    components: tuple[OwnerLimits, ...] = ()
    packages: tuple[OwnerLimits, ...] = ()
    partitions: tuple[PartitionBudget, ...] = ()
    surface: tuple[FindingLimit, ...] = ()
    deny: DenyList = field(default_factory=DenyList)
    kernel: KernelBudget = field(default_factory=KernelBudget)
    new_components: Limit | None = None
    growth: tuple[GrowthLimit, ...] = ()
    shrink: Limit | None = None
    unowned: Limit | None = None
    waivers: tuple[RawWaiver, ...] = ()


@dataclass(frozen=True, slots=True)
class RawBudget(BudgetRules):
    """The `budget:` of a manifest, as written."""

    files: Limit | None = None
    bytes: Limit | None = None
    packed: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _RawBudgetDocument(BudgetRules):
    minbuild_budget: int
    totals: Limits = field(default_factory=Limits)


_RULE_KEYS = (
    Key("sections", OWNER_LIMITS, 'Limits by section; "*" applies to all others.'),
    Key("components", OWNER_LIMITS, 'Limits by component; "*" applies to all others.'),
    Key("packages", OWNER_LIMITS, 'Limits by package; "*" applies to all others.'),
    Key(
        "partitions",
        MapOf(NAME, PARTITION, PartitionBudget),
        "Partitions that the image must fit into.",
    ),
    Key(
        "surface",
        MapOf(NAME, FINDINGS, FindingLimit),
        "Allowed findings of each kind: a number (setuid: 0), or a list (modules: [kvm, tun]).",
    ),
    Key("deny", DENY_LIST, "Content that the image must not have."),
    Key(
        "kernel",
        KERNEL,
        "Options of a kernel that is built: how many, which must be, which must not.",
    ),
    Key(
        "new-components",
        LocatedLimit(Boolean(), is_size=False),
        "false: a component that the baseline does not have fails.",
    ),
    Key(
        "growth",
        MapOf(NAME, GROWTH_THRESHOLD, GrowthLimit),
        "Allowed growth of files, bytes or packed over the baseline.",
    ),
    Key(
        "shrink",
        LocatedLimit(Integer(0, 99), is_size=False),
        "Percent below the limit of a total from which the limit should be lowered.",
    ),
    Key("unowned", INTEGER_LIMIT, "Files without an owning component."),
    Key("waivers", ListOf(WAIVER), "Rules that may fail until a date."),
)
BUDGET_DOCUMENT: Record[_RawBudgetDocument] = Record(
    _RawBudgetDocument,
    "Limits that a CI pipeline checks an image against.",
    (
        Key(VERSION_KEY, Integer(1, 1), "The version of this format: 1.", required=True),
        Key("totals", LIMITS, "Limits of the whole image."),
        *_RULE_KEYS,
    ),
)
MANIFEST_BUDGET: Record[RawBudget] = Record(
    RawBudget,
    "Limits: a build that exceeds a total fails; `minbuild check` tests all of them.",
    (
        Key("files", LocatedLimit(TemplatedValue(Integer()), is_size=False),
            "Regular files, the kernel included."),
        Key("bytes", SIZE_LIMIT, "Sum of their sizes."),
        Key("packed", SIZE_LIMIT, "Size of the UKI."),
        *_RULE_KEYS,
    ),
)  # fmt: skip
MEASURES = ("files", "bytes", "packed")
_SINGULAR = {"executables": "executable", "modules": "module", "interpreters": "interpreter",
             "listeners": "listener", "logins": "login", "capabilities": "capability"}  # fmt: skip
"""Plural of a kind of finding → the kind."""


def build_manifest_budget(part: RawBudget, problems: Problems) -> Budget:
    """Build the budget from the `budget:` of a manifest."""
    return _build_budget(part, Limits(part.files, part.bytes, part.packed), problems)


def is_manifest_document(path: Path) -> bool:
    """Whether a file is a manifest; False for a budget file."""
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
            "no such budget file", where=display_path(path),
            fix="name one, or create it: minbuild check IMAGE --budget FILE --update",
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
        problems.add(f"{text.text} is not a date", text.where, "write it like 2027-03-01")
        return None


def rewrite_limits(
    text: str, changes: Sequence[tuple[Limit, int]]
) -> tuple[str, tuple[Limit, ...]]:
    """Replace the values of limits in a text; keep everything else, comments included.

    Return the text and the changed limits: templates are not changed.
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
