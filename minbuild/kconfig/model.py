"""Options as frozen data: requests, needs with their reasons, expressions, and what a module's option is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class How(StrEnum):
    """Why an option has its value."""

    ASKED = "asked for"
    DEPENDS = "depends on"
    """Another option depends on it."""
    ALTERNATIVE = "alternative taken"
    """Another option depends on this one or others; this one was taken."""
    SELECT = "select"
    """Another option turns it on."""
    DEFAULT = "default"
    """It has no prompt, or is on by itself."""


@dataclass(frozen=True, slots=True)
class OptionRequest:
    """One option that somebody asks for: `VIRTIO_NET`, `NR_CPUS=256`, `KEXEC=n`, `MITIGATION_*`."""

    name: str
    """Without CONFIG_; a glob means every option of such a name that can be set."""
    value: str
    """y, n, m, a number or a text."""
    by: str
    """The component."""
    evidence: str
    """host.yaml:9:3, or what asks for it in the component's place: `module virtio_net`."""


@dataclass(frozen=True, slots=True)
class OptionNeed:
    """The reason for one option that is on."""

    name: str
    value: str
    by: str
    """A component for ASKED, else an option; "" for a default."""
    how: How
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class KernelOptions:
    """A resolved configuration: every option that is on, with its reason."""

    version: str
    """Of the kernel: 6.12.118."""
    needs: Mapping[str, OptionNeed]
    """By name, sorted; only what is on or has a value that was asked for."""
    settings: Mapping[str, str]
    """What the kernel's own configuration program is given: options with a prompt; sorted."""
    requests: tuple[OptionRequest, ...]
    """What was asked, globs written out; sorted."""
    texts: frozenset[str] = frozenset()
    """Of `settings`, those that are texts."""
    patches: tuple[tuple[str, str], ...] = ()
    """Name and SHA-256 of what was applied to the source before, in its order."""

    @property
    def count(self) -> int:
        """Options that are y or m."""
        return sum(need.value in {"y", "m"} for need in self.needs.values())


@dataclass(frozen=True, slots=True)
class Name:
    """An option in an expression."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A condition whose value no option changes."""

    is_true: bool


@dataclass(frozen=True, slots=True)
class Both:
    """`A && B`."""

    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Either:
    """`A || B`."""

    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Not:
    """`!A`."""

    inner: "Expression"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`A = B`, `A != B`, `A < B` …: options that take part, and the text."""

    text: str
    handle: object = field(compare=False, repr=False)
    """What the reader of Kconfig evaluates."""


Expression = Name | Constant | Both | Either | Not | Comparison
