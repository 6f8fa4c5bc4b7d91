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
from minbuild.manifest import document
from minbuild.manifest.inputs import Inputs, shown
from minbuild.manifest.limits import (
    Allowed,
    Budget,
    Count,
    Denied,
    Exemption,
    FindingKind,
    Growth,
    Limit,
    Limits,
    Owned,
    Partition,
    Room,
    Step,
)
from minbuild.manifest.nodes import Entries, Items, Node
from minbuild.manifest.places import Name, Where
from minbuild.manifest.problems import Problems, suggestion
from minbuild.manifest.scalars import Flag, Named, Size, Templated, Text, Whole
from minbuild.manifest.shape import Json, Reading, Shape
from minbuild.manifest.shapes import Key, Many, Record, Table

T = TypeVar("T")
VERSION = "minbuild-budget"
_VALUE = re.compile(r"\"[^\"]*\"|'[^']*'|[^,}\]#\n]*[^,}\]#\n\s]")
"""A scalar as it stands in a line, quoted or plain."""


@dataclass(frozen=True, slots=True)
class _Waiver:
    rule: Name
    owner: str
    because: str
    expires: Name
    where: Where


@dataclass(frozen=True, slots=True)
class _Placed(Generic[T]):
    """A number together with its place."""

    shape: Shape[int]
    is_size: bool

    def read(self, node: Node, reading: Reading) -> Limit | None:
        value = self.shape.read(node, reading)
        return None if value is None else Limit(value, node.where, self.is_size)

    def schema(self) -> Json:
        return self.shape.schema()


@dataclass(frozen=True, slots=True)
class _Findings:
    """How many findings there may be, or a list of which."""

    number: Shape[Limit]
    list: Shape[tuple[Name, ...]]

    def read(self, node: Node, reading: Reading) -> Limit | Allowed | None:
        if not isinstance(node, Items):
            return self.number.read(node, reading)
        names = self.list.read(node, reading)
        return None if names is None else Allowed(names, node.where)

    def schema(self) -> Json:
        return {"anyOf": [self.number.schema(), self.list.schema()]}


_SIZE: Shape[Limit] = _Placed(Size(), is_size=True)
_WHOLE: Shape[Limit] = _Placed(Whole(), is_size=False)
_NAME = Text("a name", "[^\\x00]+", template=False)
_GLOBS = Many(Named(_NAME))
_FINDINGS: Shape[Limit | Allowed] = _Findings(_WHOLE, _GLOBS)
_LIMITS: Shape[Limits] = Record(
    Limits,
    "Limits of one owner.",
    (
        Key("files", _WHOLE, "Regular files."),
        Key("bytes", _SIZE, "Installed size."),
        Key("packed", _SIZE, "Packed size."),
    ),
)
_OWNED = Table(_NAME, _LIMITS, Owned)
_PARTITION: Shape[Partition] = Record(
    Partition,
    "Room on a disk that the image has to fit into.",
    (
        Key("size", _SIZE, "The room.", required=True),
        Key("slots", Whole(1, 64), "Copies of the image in it: 2 for A and B."),
        Key("reserve", Whole(0, 99), "Percent that stays free."),
    ),
)
_STEP: Shape[Step] = Record(
    Step,
    "Growth that fails: more than both.",
    (
        Key("bytes", _SIZE, "Bytes, or files where files are counted.", required=True),
        Key("percent", Whole(0, 1000), "Percent of the baseline."),
    ),
)
_WAIVER: Shape[_Waiver] = Record(
    _Waiver,
    "A rule that may fail for a while.",
    (
        Key("rule", Named(_NAME), "The rule as check prints it, or a glob.", required=True),
        Key("owner", _NAME, "Who answers for it: a person or a team.", required=True),
        Key("because", _NAME, "The reason, for people.", required=True),
        Key(
            "expires",
            Named(Text("a date", r"\d{4}-\d{2}-\d{2}", "write it like 2027-03-01", template=False)),
            "The last day on which it holds, within a year.",
            required=True,
        ),
    ),
)
_DENY: Shape[Denied] = Record(
    Denied,
    "What may not be in the image.",
    (
        Key("paths", _GLOBS, "Paths or globs."),
        Key("packages", _GLOBS, "Packages or globs."),
        Key("components", _GLOBS, "Components or globs."),
    ),
)


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules beside those of the totals, as they are written."""

    sections: tuple[Owned, ...] = ()
    components: tuple[Owned, ...] = ()
    packages: tuple[Owned, ...] = ()
    partitions: tuple[Room, ...] = ()
    surface: tuple[Count, ...] = ()
    deny: Denied = field(default_factory=Denied)
    new_components: Limit | None = None
    growth: tuple[Growth, ...] = ()
    shrink: Limit | None = None
    unowned: Limit | None = None
    waivers: tuple[_Waiver, ...] = ()


@dataclass(frozen=True, slots=True)
class BudgetPart(Rules):
    """A manifest's `budget:`."""

    files: Limit | None = None
    bytes: Limit | None = None
    packed: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document(Rules):
    minbuild_budget: int
    totals: Limits = field(default_factory=Limits)


_RULES = (
    Key("sections", _OWNED, 'Limits by section; "*" is for all others.'),
    Key("components", _OWNED, 'Limits by component; "*" is for all others.'),
    Key("packages", _OWNED, 'Limits by package; "*" is for all others.'),
    Key("partitions", Table(_NAME, _PARTITION, Room), "Rooms that the image has to fit into."),
    Key(
        "surface",
        Table(_NAME, _FINDINGS, Count),
        "Findings of each kind: how many (setuid: 0), or which (modules: [kvm, tun]).",
    ),
    Key("deny", _DENY, "What may not be in the image."),
    Key(
        "new-components",
        _Placed(Flag(), is_size=False),
        "false: a component that is new against the baseline fails.",
    ),
    Key("growth", Table(_NAME, _STEP, Growth), "Growth of files, bytes or packed."),
    Key(
        "shrink",
        _Placed(Whole(0, 99), is_size=False),
        "Percent below a total's limit from which it should be lowered.",
    ),
    Key("unowned", _WHOLE, "Files that no component owns."),
    Key("waivers", Many(_WAIVER), "Rules that may fail for a while."),
)
DOCUMENT: Record[_Document] = Record(
    _Document,
    "The limits that a pipeline holds an image to.",
    (
        Key(VERSION, Whole(1, 1), "The version of this format: 1.", required=True),
        Key("totals", _LIMITS, "Limits of the whole image."),
        *_RULES,
    ),
)
PART: Record[BudgetPart] = Record(
    BudgetPart,
    "Limits; a build over one of its totals fails, and check judges all of them.",
    (
        Key("files", _Placed(Templated(Whole()), is_size=False),
            "Regular files, the kernel included."),
        Key("bytes", _SIZE, "Sum of their sizes."),
        Key("packed", _SIZE, "Size of the one file that boots."),
        *_RULES,
    ),
)  # fmt: skip
MEASURES = ("files", "bytes", "packed")
_SINGULAR = {"executables": "executable", "modules": "module", "interpreters": "interpreter",
             "listeners": "listener", "logins": "login", "capabilities": "capability"}  # fmt: skip
"""Kinds of findings as a list of them is called."""


def budget_of(part: BudgetPart, problems: Problems) -> Budget:
    """The budget that a manifest's `budget:` means."""
    return _made(part, Limits(part.files, part.bytes, part.packed), problems)


def is_manifest(path: Path) -> bool:
    """Whether a file is a manifest, whose `budget:` is meant; false for a budget file."""
    problems = Problems()
    data = Inputs(problems).read(path, shown(path))
    node = None if data is None else document.parse(data, shown(path), problems)
    return isinstance(node, Entries) and "minbuild" in node.entries


def load_budget(path: Path) -> Budget:
    """Read a budget file.

    Raises: ManifestError with every problem of it.
    """
    problems = Problems()
    data = Inputs(problems).read(path, shown(path))
    if data is None and not len(problems):
        raise ManifestError(
            "there is no such budget file", where=shown(path),
            fix="name one, or write it first: minbuild check IMAGE --budget FILE --update",
        )  # fmt: skip
    node = None if data is None else document.parse(data, shown(path), problems)
    read = None if node is None else DOCUMENT.read(node, Reading(problems))
    made = None if read is None else _made(read, read.totals, problems)
    problems.check()
    assert made is not None
    return made


def _made(rules: Rules, totals: Limits, problems: Problems) -> Budget:
    counts = tuple(replace(one, kind=_SINGULAR.get(one.kind, one.kind)) for one in rules.surface)
    for count in counts:
        if count.kind not in list(FindingKind):
            what = f"there is no finding called {count.kind}"
            problems.add(what, count.where, suggestion(count.kind, list(FindingKind)))
    for one in rules.growth:
        if one.measure not in MEASURES:
            what = f"growth is not measured in {one.measure}"
            problems.add(what, one.where, suggestion(one.measure, MEASURES))
    for waiver in rules.waivers:
        if not waiver.rule.text.strip("*?[]!.-"):
            fix = "name the rule, or a group of rules: components.*"
            problems.add(f"the waiver {waiver.rule.text} waives every rule", waiver.where, fix)
    waivers = tuple(
        Exemption(one.rule, one.owner, one.because, _date(one.expires, problems), one.where)
        for one in rules.waivers
    )
    made = {"waivers", "surface"}
    same = {one.name: getattr(rules, one.name) for one in fields(Rules) if one.name not in made}
    return Budget(totals=totals, waivers=waivers, surface=counts, **same)


def _date(text: Name, problems: Problems) -> date | None:
    try:
        return date.fromisoformat(text.text)
    except ValueError:
        problems.add(f"{text.text} is no day", text.where, "write it like 2027-03-01")
        return None


def rewrite(text: str, changes: Sequence[tuple[Limit, int]]) -> tuple[str, tuple[Limit, ...]]:
    """Put new numbers in the places of limits; all else, comments too, stays as it is.

    Returns the text and the limits that were changed: a template is left as it is.
    """
    lines = text.splitlines(keepends=True)
    by_place = sorted(changes, key=lambda pair: (pair[0].where.line, -pair[0].where.column))
    done = []
    for limit, value in by_place:
        at, column = limit.where.line - 1, limit.where.column - 1
        line = lines[at]
        old = _VALUE.match(line, column)
        if old is not None and "{{" not in old[0]:
            lines[at] = f"{line[:column]}{value}{line[old.end() :]}"
            done.append(limit)
    return "".join(lines), tuple(done)
