"""What an image may be: every kind of limit, each with its place."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from minbuild.manifest.document.location import LocatedName, Location


class FindingKind(StrEnum):
    """What an attack surface is made of, in the report's order."""

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
    """A number and where it stands."""

    value: int
    where: Location
    is_size: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What one owner may weigh; None where there is no limit."""

    files: Limit | None = None
    bytes: Limit | None = None
    packed: Limit | None = None


@dataclass(frozen=True, slots=True)
class OwnerLimits:
    """The limits of one section, component or package; "*" is for all without their own."""

    name: str
    limits: Limits
    where: Location


@dataclass(frozen=True, slots=True)
class PartitionSize:
    """Room on a disk that some copies of the image have to fit into."""

    size: Limit
    slots: int = 1
    reserve: int = 0
    """Percent of the room that stays free."""


@dataclass(frozen=True, slots=True)
class PartitionBudget:
    name: str
    partition: PartitionSize
    where: Location


@dataclass(frozen=True, slots=True)
class AllowedFindings:
    """Findings that there may be, by their subjects or globs of them, and where the list stands."""

    subjects: tuple[LocatedName, ...]
    where: Location


@dataclass(frozen=True, slots=True)
class FindingLimit:
    """How many findings of one kind there may be, or which: all others fail."""

    kind: str
    allowed: Limit | AllowedFindings
    where: Location


@dataclass(frozen=True, slots=True)
class DenyList:
    """What may not be in the image at all: globs."""

    paths: tuple[LocatedName, ...] = ()
    packages: tuple[LocatedName, ...] = ()
    components: tuple[LocatedName, ...] = ()


@dataclass(frozen=True, slots=True)
class GrowthThreshold:
    """Growth against a baseline that fails: both must be exceeded."""

    bytes: Limit
    percent: int = 0


@dataclass(frozen=True, slots=True)
class GrowthLimit:
    measure: str
    step: GrowthThreshold
    where: Location


@dataclass(frozen=True, slots=True)
class BudgetWaiver:
    """A rule that may fail for a while."""

    rule: LocatedName
    owner: str
    """Who answers for it."""
    because: str
    expires: date | None
    where: Location


@dataclass(frozen=True, slots=True)
class Budget:
    """Every rule that an image is held to."""

    totals: Limits = Limits()
    sections: tuple[OwnerLimits, ...] = ()
    components: tuple[OwnerLimits, ...] = ()
    packages: tuple[OwnerLimits, ...] = ()
    partitions: tuple[PartitionBudget, ...] = ()
    surface: tuple[FindingLimit, ...] = ()
    deny: DenyList = DenyList()
    new_components: Limit | None = None
    """0: a component that the baseline has not fails."""
    growth: tuple[GrowthLimit, ...] = ()
    shrink: Limit | None = None
    """Percent that the image may lie below its limit before the limit is to be lowered; 0: any."""
    unowned: Limit | None = None
    waivers: tuple[BudgetWaiver, ...] = ()


def list_limits(totals: Limits) -> dict[str, Limit]:
    """The limits of totals that are set, by name, sorted."""
    rows = {"bytes": totals.bytes, "files": totals.files, "packed": totals.packed}
    return {name: limit for name, limit in rows.items() if limit is not None}
