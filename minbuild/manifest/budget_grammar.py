"""Shapes of a budget's rules: what may stand in each."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from minbuild.manifest.document.containers import Key, ListOf, MapOf, Record
from minbuild.manifest.document.nodes import LocatedName, Location, Node, SequenceNode
from minbuild.manifest.document.scalars import (
    Integer,
    Json,
    Located,
    ReadContext,
    Size,
    Text,
    ValueShape,
)
from minbuild.manifest.limits import (
    AllowedFindings,
    DenyList,
    GrowthThreshold,
    KernelBudget,
    Limit,
    Limits,
    OwnerLimits,
    PartitionSize,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RawWaiver:
    rule: LocatedName
    owner: str
    because: str
    expires: LocatedName
    where: Location


@dataclass(frozen=True, slots=True)
class LocatedLimit(Generic[T]):
    """A number with its place."""

    shape: ValueShape[int]
    is_size: bool

    def read(self, node: Node, context: ReadContext) -> Limit | None:
        value = self.shape.read(node, context)
        return None if value is None else Limit(value, node.where, self.is_size)

    def schema(self) -> Json:
        return self.shape.schema()


@dataclass(frozen=True, slots=True)
class _AllowedShape:
    """A list with its place: of none of its names, too."""

    names: ValueShape[tuple[LocatedName, ...]]

    def read(self, node: Node, context: ReadContext) -> AllowedFindings | None:
        names = self.names.read(node, context)
        return None if names is None else AllowedFindings(names, node.where)

    def schema(self) -> Json:
        return self.names.schema()


@dataclass(frozen=True, slots=True)
class _FindingLimitShape:
    """A number of findings, or a list of the allowed ones."""

    number: ValueShape[Limit]
    names: ValueShape[AllowedFindings]

    def read(self, node: Node, context: ReadContext) -> Limit | AllowedFindings | None:
        if not isinstance(node, SequenceNode):
            return self.number.read(node, context)
        return self.names.read(node, context)

    def schema(self) -> Json:
        return {"anyOf": [self.number.schema(), self.names.schema()]}


SIZE_LIMIT: ValueShape[Limit] = LocatedLimit(Size(), is_size=True)
INTEGER_LIMIT: ValueShape[Limit] = LocatedLimit(Integer(), is_size=False)
NAME = Text("a name", "[^\\x00]+", template=False)
_GLOBS = ListOf(Located(NAME))
FINDINGS: ValueShape[Limit | AllowedFindings] = _FindingLimitShape(
    INTEGER_LIMIT, _AllowedShape(_GLOBS)
)
LIMITS: ValueShape[Limits] = Record(
    Limits,
    "Limits of one owner.",
    (
        Key("files", INTEGER_LIMIT, "Regular files."),
        Key("bytes", SIZE_LIMIT, "Installed size."),
        Key("packed", SIZE_LIMIT, "Packed size."),
    ),
)
OWNER_LIMITS = MapOf(NAME, LIMITS, OwnerLimits)
PARTITION: ValueShape[PartitionSize] = Record(
    PartitionSize,
    "A partition that the image must fit into.",
    (
        Key("size", SIZE_LIMIT, "Size of the partition.", required=True),
        Key("slots", Integer(1, 64), "Copies of the image in the partition: 2 for A/B updates."),
        Key("reserve", Integer(0, 99), "Percent of the partition to keep free."),
    ),
)
GROWTH_THRESHOLD: ValueShape[GrowthThreshold] = Record(
    GrowthThreshold,
    "Growth over the baseline that fails: above both limits.",
    (
        Key("bytes", SIZE_LIMIT, "Bytes; files for growth of files.", required=True),
        Key("percent", Integer(0, 1000), "Percent of the baseline."),
    ),
)
WAIVER: ValueShape[RawWaiver] = Record(
    RawWaiver,
    "A rule that may fail until a date.",
    (
        Key("rule", Located(NAME), "The rule as check prints it, or a glob.", required=True),
        Key("owner", NAME, "Responsible person or team.", required=True),
        Key("because", NAME, "The reason, for people.", required=True),
        Key(
            "expires",
            Located(
                Text("a date", r"\d{4}-\d{2}-\d{2}", "write it like 2027-03-01", template=False)
            ),
            "Last day of the waiver, within a year.",
            required=True,
        ),
    ),
)
DENY_LIST: ValueShape[DenyList] = Record(
    DenyList,
    "Content that the image must not have.",
    (
        Key("paths", _GLOBS, "Paths or globs."),
        Key("packages", _GLOBS, "Packages or globs."),
        Key("components", _GLOBS, "Components or globs."),
    ),
)


_OPTION_GLOBS = ListOf(
    Located(
        Text(
            "an option", r"(CONFIG_)?[A-Za-z0-9_*?]+",
            "write its name, or a glob: DEVMEM, DEBUG_*", template=False,
        )
    )
)  # fmt: skip
KERNEL: ValueShape[KernelBudget] = Record(
    KernelBudget,
    "Options of a kernel that is built.",
    (
        Key("options", INTEGER_LIMIT, "Options that are on."),
        Key(
            "required",
            ListOf(
                Located(
                    Text(
                        "an option", r"(CONFIG_)?[A-Za-z0-9_]+(=.+)?",
                        "write NAME or NAME=VALUE", template=False,
                    )
                )
            ),
            "Options that must be on (NAME), or have a value (NAME=VALUE).",
        ),
        Key("forbidden", _OPTION_GLOBS, "Options or globs that must be off."),
        Key("allowed", _AllowedShape(_OPTION_GLOBS), "Options or globs that may be on; all others fail."),
    ),
)  # fmt: skip
