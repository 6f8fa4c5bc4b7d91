"""Budget of an image: every kind of limit, each with its place."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from minbuild.manifest.document.nodes import LocatedName, Location


class FindingKind(StrEnum):
    """Kinds of attack surface findings, in the order of reports."""

    SETUID = "setuid"
    SETGID = "setgid"
    CAPABILITY = "capability"
    WORLD_WRITABLE = "world-writable"
    EXECUTABLE = "executable"
    INTERPRETER = "interpreter"
    LISTENER = "listener"
    MAY_LISTEN = "may-listen"
    LOGIN = "login"
    MODULE = "module"
    CMDLINE = "cmdline"
    KERNEL_LACKS = "kernel-lacks"
    HARDENING = "hardening"
    NO_PIE = "no-pie"
    NO_RELRO = "no-relro"
    NO_BIND_NOW = "no-bind-now"
    NO_CANARY = "no-canary"
    NO_FORTIFY = "no-fortify"
    NO_NX = "no-nx"
    EXPORTS = "exports"


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit with its place."""

    value: int
    where: Location
    is_size: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one owner; None for no limit."""

    files: Limit | None = None
    bytes: Limit | None = None
    packed: Limit | None = None


@dataclass(frozen=True, slots=True)
class OwnerLimits:
    """The limits of one section, component or package; "*" applies to all without their own."""

    name: str
    limits: Limits
    where: Location


@dataclass(frozen=True, slots=True)
class PartitionSize:
    """Size of a partition that one or more copies of the image must fit into."""

    size: Limit
    slots: int = 1
    reserve: int = 0
    """Percent to keep free."""


@dataclass(frozen=True, slots=True)
class PartitionBudget:
    """A named partition that the image must fit into."""

    name: str
    partition: PartitionSize
    where: Location


@dataclass(frozen=True, slots=True)
class AllowedFindings:
    """Allowed findings, by subject or glob, and the place of the list."""

    subjects: tuple[LocatedName, ...]
    where: Location


@dataclass(frozen=True, slots=True)
class FindingLimit:
    """Allowed findings of one kind: a number or a list; all others fail."""

    kind: str
    allowed: Limit | AllowedFindings
    where: Location


@dataclass(frozen=True, slots=True)
class DenyList:
    """Globs of content that the image must not have."""

    paths: tuple[LocatedName, ...] = ()
    packages: tuple[LocatedName, ...] = ()
    components: tuple[LocatedName, ...] = ()


@dataclass(frozen=True, slots=True)
class KernelBudget:
    """Rules about the options of a kernel that is built."""

    options: Limit | None = None
    """How many may be on."""
    required: tuple[LocatedName, ...] = ()
    """NAME or NAME=VALUE."""
    forbidden: tuple[LocatedName, ...] = ()
    """Names or globs."""
    allowed: AllowedFindings | None = None
    """Names or globs; all others fail."""


@dataclass(frozen=True, slots=True)
class GrowthThreshold:
    """Growth over a baseline that fails: above both limits."""

    bytes: Limit
    percent: int = 0


@dataclass(frozen=True, slots=True)
class GrowthLimit:
    """Allowed growth of files, bytes or packed."""

    measure: str
    step: GrowthThreshold
    where: Location


@dataclass(frozen=True, slots=True)
class BudgetWaiver:
    """A rule that may fail until a date."""

    rule: LocatedName
    owner: str
    """Responsible person or team."""
    because: str
    expires: date | None
    where: Location


@dataclass(frozen=True, slots=True)
class Budget:
    """Every rule that an image is checked against."""

    totals: Limits = Limits()
    sections: tuple[OwnerLimits, ...] = ()
    components: tuple[OwnerLimits, ...] = ()
    packages: tuple[OwnerLimits, ...] = ()
    partitions: tuple[PartitionBudget, ...] = ()
    surface: tuple[FindingLimit, ...] = ()
    deny: DenyList = DenyList()
    kernel: KernelBudget = KernelBudget()
    new_components: Limit | None = None
    """0: a component that the baseline does not have fails."""
    growth: tuple[GrowthLimit, ...] = ()
    shrink: Limit | None = None
    """Percent below its limit from which the limit should be lowered; 0: never."""
    unowned: Limit | None = None
    waivers: tuple[BudgetWaiver, ...] = ()


def list_limits(totals: Limits) -> dict[str, Limit]:
    """Return the limits that are set, by name, sorted."""
    rows = {"bytes": totals.bytes, "files": totals.files, "packed": totals.packed}
    return {name: limit for name, limit in rows.items() if limit is not None}
