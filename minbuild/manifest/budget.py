"""A budget file: the limits that a pipeline holds an image to, each with its place.

minbuild-budget: 1
totals: {files: 48, packed: 17.6 MB}
components: {"*": {bytes: 8 MB}}
surface: {setuid: 0, listener: 0}
waivers: [{rule: totals.files, because: "until the new kernel", expires: 2027-03-01}]
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Generic, TypeVar

from minbuild.errors import ManifestError
from minbuild.manifest import document
from minbuild.manifest.inputs import Inputs, shown
from minbuild.manifest.nodes import Node
from minbuild.manifest.problems import Problems
from minbuild.manifest.scalars import Flag, Named, Size, Text, Whole
from minbuild.manifest.shape import Json, Reading, Shape
from minbuild.manifest.shapes import Key, Many, Record, Table
from minbuild.manifest.types import Name, Where

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limit:
    """A number and where it stands."""

    value: int
    where: Where
    is_size: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What one owner may weigh; None where there is no limit."""

    files: Limit | None = None
    bytes: Limit | None = None
    packed: Limit | None = None


@dataclass(frozen=True, slots=True)
class Owned:
    """The limits of one section, component or package; "*" is for all without their own."""

    name: str
    limits: Limits
    where: Where


@dataclass(frozen=True, slots=True)
class Partition:
    """Room on a disk that some copies of the image have to fit into."""

    size: Limit
    slots: int = 1
    reserve: int = 0
    """Percent of the room that stays free."""


@dataclass(frozen=True, slots=True)
class Room:
    name: str
    partition: Partition
    where: Where


@dataclass(frozen=True, slots=True)
class Count:
    """How many findings of one kind there may be."""

    kind: str
    limit: Limit
    where: Where


@dataclass(frozen=True, slots=True)
class Denied:
    """What may not be in the image at all: globs."""

    paths: tuple[Name, ...] = ()
    packages: tuple[Name, ...] = ()
    components: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """Growth against a baseline that fails: both must be exceeded."""

    bytes: Limit
    percent: int = 0


@dataclass(frozen=True, slots=True)
class Growth:
    measure: str
    step: Step
    where: Where


@dataclass(frozen=True, slots=True)
class Exemption:
    """A rule that may fail for a while."""

    rule: Name
    because: str
    expires: date | None
    where: Where


@dataclass(frozen=True, slots=True)
class BudgetFile:
    """Every rule of a budget file."""

    totals: Limits = Limits()
    sections: tuple[Owned, ...] = ()
    components: tuple[Owned, ...] = ()
    packages: tuple[Owned, ...] = ()
    partitions: tuple[Room, ...] = ()
    surface: tuple[Count, ...] = ()
    deny: Denied = Denied()
    new_components: bool = True
    """False: a component that the baseline has not fails."""
    growth: tuple[Growth, ...] = ()
    shrink: int = 0
    """Percent that the image may lie below its limit before the limit is to be lowered; 0: any."""
    unowned: Limit | None = None
    waivers: tuple[Exemption, ...] = ()


@dataclass(frozen=True, slots=True)
class _Waiver:
    rule: Name
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


_SIZE: Shape[Limit] = _Placed(Size(), is_size=True)
_WHOLE: Shape[Limit] = _Placed(Whole(), is_size=False)
_NAME = Text("a name", "[^\\x00]+", template=False)
_GLOBS = Many(Named(_NAME))
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
        Key("because", _NAME, "The reason, for people.", required=True),
        Key(
            "expires",
            Named(Text("a date", r"\d{4}-\d{2}-\d{2}", "write it like 2027-03-01", template=False)),
            "The last day on which it holds.",
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
class _Document:
    minbuild_budget: int
    totals: Limits = Limits()
    sections: tuple[Owned, ...] = ()
    components: tuple[Owned, ...] = ()
    packages: tuple[Owned, ...] = ()
    partitions: tuple[Room, ...] = ()
    surface: tuple[Count, ...] = ()
    deny: Denied = Denied()
    new_components: bool = True
    growth: tuple[Growth, ...] = ()
    shrink: int = 0
    unowned: Limit | None = None
    waivers: tuple[_Waiver, ...] = ()


DOCUMENT: Record[_Document] = Record(
    _Document,
    "The limits that a pipeline holds an image to.",
    (
        Key("minbuild-budget", Whole(1, 1), "The version of this format: 1.", required=True),
        Key("totals", _LIMITS, "Limits of the whole image."),
        Key("sections", _OWNED, 'Limits by section; "*" is for all others.'),
        Key("components", _OWNED, 'Limits by component; "*" is for all others.'),
        Key("packages", _OWNED, 'Limits by package; "*" is for all others.'),
        Key("partitions", Table(_NAME, _PARTITION, Room), "Rooms that the image has to fit into."),
        Key("surface", Table(_NAME, _WHOLE, Count), "Findings of each kind: setuid: 0."),
        Key("deny", _DENY, "What may not be in the image."),
        Key("new-components", Flag(), "false: a component that is new against the baseline fails."),
        Key("growth", Table(_NAME, _STEP, Growth), "Growth of files, bytes or packed."),
        Key(
            "shrink", Whole(0, 99), "Percent below a total's limit from which it should be lowered."
        ),
        Key("unowned", _WHOLE, "Files that no component owns."),
        Key("waivers", Many(_WAIVER), "Rules that may fail for a while."),
    ),
)
MEASURES = ("files", "bytes", "packed")


def load_budget(path: Path, kinds: Sequence[str]) -> BudgetFile:
    """Read a budget file; `kinds` are the findings that can be counted.

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
    made = None if node is None else DOCUMENT.read(node, Reading(problems))
    if made is not None:
        _check(made, kinds, problems)
    problems.check()
    assert made is not None
    waivers = tuple(
        Exemption(one.rule, one.because, _date(one.expires, problems), one.where)
        for one in made.waivers
    )
    problems.check()
    fields = {name: getattr(made, name) for name in BudgetFile.__slots__ if name != "waivers"}
    return BudgetFile(**fields, waivers=waivers)


def _check(made: _Document, kinds: Sequence[str], problems: Problems) -> None:
    from minbuild.manifest.problems import suggestion

    for count in made.surface:
        if count.kind not in kinds:
            what = f"there is no finding called {count.kind}"
            problems.add(what, count.where, suggestion(count.kind, kinds))
    for one in made.growth:
        if one.measure not in MEASURES:
            what = f"growth is not measured in {one.measure}"
            problems.add(what, one.where, suggestion(one.measure, MEASURES))


def _date(text: Name, problems: Problems) -> date | None:
    try:
        return date.fromisoformat(text.text)
    except ValueError:
        problems.add(f"{text.text} is no day", text.where, "write it like 2027-03-01")
        return None


def rewrite(text: str, changes: Sequence[tuple[Limit, int]]) -> str:
    """Put new numbers in the places of limits; all else, comments too, stays as it is."""
    lines = text.splitlines(keepends=True)
    by_place = sorted(changes, key=lambda pair: (pair[0].where.line, -pair[0].where.column))
    for limit, value in by_place:
        at, column = limit.where.line - 1, limit.where.column - 1
        line = lines[at]
        rest = re.sub(r"^(\"[^\"]*\"|'[^']*'|[^,}\]#\n]*[^,}\]#\n\s])", str(value), line[column:])
        lines[at] = line[:column] + rest
    return "".join(lines)
