"""Types of a footprint: sizes by file and by owner, with needs: schema minbuild.footprint/1."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from minbuild.kconfig.model import OptionNeed
from minbuild.manifest.limits import FindingKind as FindingKind  # noqa: PLC0414
from minbuild.paths import RootPath
from minbuild.resolve.model import Need, OptionalFile, ScriptWarning

SCHEMA = "minbuild.footprint/1"
IMAGE_OVERHEAD = "image"
"""The row of bytes that belong to no file: boot stub, headers, padding."""
DISK_OVERHEAD = "disk"
"""The row of a disk's own bytes: partition table, file system, free space."""
SEEN_IN_LAB = "seen in the lab"
"""How the detail of a listener begins that a boot showed; others are configured."""
STRING_PRIORITY = "string"
"""The priority of a possible file that a text names; those of rules are recommended or suggested."""
UNOWNED = "unowned"
"""The component of a file that no manifest is known for."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One path of the image."""

    path: RootPath
    type: str
    """file, link, directory, hardlink, or other (a device, a socket)."""
    mode: int
    uid: int
    gid: int
    size: int
    sha256: str
    target: str
    """A link's text, a hard link's first name; of a device node what it is: `c 1:3`."""
    package: str
    component: str
    section: str
    packed: int
    """Its estimated share of the image, in bytes; the kernel's is exact."""


@dataclass(frozen=True, slots=True)
class OwnerRow:
    """What one owner weighs; rows of one table sum to the totals."""

    name: str
    files: int
    bytes: int
    packed: int


@dataclass(frozen=True, slots=True)
class PackageRow:
    """One package that has a file in the image."""

    name: str
    version: str
    files: int
    bytes: int
    packed: int


@dataclass(frozen=True, slots=True)
class Totals:
    files: int
    """Regular files of the running host, the kernel included."""
    links: int
    directories: int
    bytes: int
    """Sum of the files' sizes."""
    packed: int
    """Size of the one file that boots."""


@dataclass(frozen=True, slots=True, order=True)
class SurfaceFinding:
    """One thing that an attacker could use."""

    kind: FindingKind
    subject: str
    """A path, a user, a module, a kernel option, a port (22/tcp)."""
    detail: str
    """What was seen; for exports, the number of symbols."""


@dataclass(frozen=True, slots=True)
class Surface:
    """The attack surface of a host."""

    findings: tuple[SurfaceFinding, ...] = ()
    """Sorted."""
    unknown: tuple[FindingKind, ...] = ()
    """What could not be looked at: never the same as none; sorted."""
    in_lab: bool = False
    """True: a boot in the lab was watched for ports."""

    def count(self, kind: FindingKind) -> int:
        """How many findings of a kind; of exports, how many symbols; of listeners, how many ports."""
        of_kind = [one for one in self.findings if one.kind is kind]
        if kind is FindingKind.EXPORTS:
            return sum(int(one.detail) for one in of_kind)
        if kind is FindingKind.LISTENER:
            return len({one.subject for one in of_kind})
        return len(of_kind)


@dataclass(frozen=True, slots=True)
class WaiverRow:
    """One line of a manifest that leaves something out knowingly."""

    kind: str
    """drop or allow-missing."""
    path: str
    """As written: a path or glob, or a name."""
    because: str
    where: str


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """What a component has the lab ask of a booted host, in its own words."""

    name: str
    console: str
    limit: int
    means: str
    lease: bool
    lookup: str
    tcp: int
    to: str
    says: str
    where: str


@dataclass(frozen=True, slots=True)
class FixedAddress:
    """The address that a host has by its manifest (network/static), not by DHCP."""

    address: str
    """192.0.2.10/24; "" where only a credential of a machine gives it one."""
    gateway: str
    """"" for none."""
    nameservers: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class BuildInput:
    """One file that a build was made from."""

    uri: str
    """file:host.yaml, relative to the manifest, or urn:minbuild:… for minbuild's own."""
    sha256: str


@dataclass(frozen=True, slots=True)
class BuildInputs:
    """What a build was made from, beside its lock."""

    arch: str
    cell: str
    """The combination of the manifest's matrix; "" for none."""
    compression: str
    formats: tuple[str, ...]
    settings: str
    """SHA-256 of what the command line set: it may be secret."""
    files: tuple[BuildInput, ...]
    """Sorted."""


@dataclass(frozen=True, slots=True)
class Footprint:
    name: str
    arch: str
    kernel: str
    suites: tuple[str, ...]
    packed: Mapping[str, int]
    """Bytes of each image that was written: efi, raw, …; sorted."""
    totals: Totals
    sections: tuple[OwnerRow, ...]
    components: tuple[OwnerRow, ...]
    packages: tuple[PackageRow, ...]
    files: tuple[FileRow, ...]
    """Sorted by path."""
    edges: tuple[Need, ...]
    """Sorted."""
    budget: Mapping[str, int] = field(default_factory=dict)
    """The manifest's limits that are set: files, bytes, packed; sorted."""
    budget_locations: Mapping[str, str] = field(default_factory=dict)
    """Location of each of those limits: host.yaml:30:10."""
    surface: Surface | None = None
    """None in documents of a minbuild that did not look."""
    possible_dlopens: Mapping[RootPath, tuple[str, ...]] = field(default_factory=dict)
    """Libraries not in the image that a file may open by name at run time; sorted."""
    warnings: tuple[ScriptWarning, ...] = ()
    """Commands of scripts that the image has not; sorted."""
    possible_data: tuple[OptionalFile, ...] = ()
    """Files that rules list for others and that are not in the image; sorted."""
    waivers: tuple[WaiverRow, ...] = ()
    """In the manifest's order, drops first."""
    probes: tuple[ProbeRow, ...] | None = None
    """In the components' order; None where no manifest is known."""
    fixed_address: FixedAddress | None = None
    """None for a host without network/static."""
    inputs: BuildInputs | None = None
    """None where no build wrote it."""
    kernel_options: tuple[OptionNeed, ...] = ()
    """Of a kernel that was built for the host, sorted by name; () where a package has it."""
