"""A manifest with all defaults filled in, every reference found and every template rendered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from minbuild.manifest.document.location import LocatedName as LocatedName  # noqa: PLC0414
from minbuild.manifest.document.location import Location as Location  # noqa: PLC0414
from minbuild.manifest.image_settings import ImageSettings
from minbuild.manifest.limits import Budget as Budget  # noqa: PLC0414
from minbuild.paths import RootPath

VariableValue = str | int | bool | tuple[str, ...]
"""What a variable can be."""


class Section(StrEnum):
    """Where a component stands, and how a report is broken down; in the report's order."""

    KERNEL = "kernel"
    FILESYSTEM = "filesystem"
    NETWORK = "network"
    SERVICES = "services"
    BOOT = "boot"
    HYPERVISOR = "hypervisor"


ANY_PACKAGE = "*"
"""In place of a package: whichever has the path in an installed root."""


@dataclass(frozen=True, slots=True)
class PackagePaths:
    """Roots: paths or globs of one package."""

    package: str
    paths: tuple[str, ...]
    """As written: `/usr/bin/lspci`, `/usr/share/qemu/*.bin`."""
    where: Location


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """What a rendered file was made from."""

    text: str | None
    """None: it cannot be read, which was told."""
    where: Location
    """The template's first file, or the document with the text."""
    lines_above: int = 0
    """Lines of that file before the text."""
    parts: tuple[Location, ...] = ()
    """Each file of the template, and the line of `text` that it begins with."""


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A file, link or directory that the manifest itself makes."""

    path: RootPath
    where: Location
    content: bytes = b""
    """The bytes as they stand in the image: rendered, or copied from `source`."""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""
    """A link's text; "" for a regular file or directory."""
    directory: bool = False
    template: TemplateSource | None = field(default=None, compare=False)
    """None: copied as it is, or no regular file."""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """What the lab checks on a booted host."""

    name: str
    where: Location
    console: str = ""
    """Regular expression that a console line must match; "" when the lab knows the name."""
    limit: int = 60
    """Seconds since power-on under emulation."""
    means: str = ""
    """What a failure means, for people."""
    lease: bool = False
    """True: the lab's DHCP server must have granted the host an address."""
    lookup: str = ""
    """A name that the lab's DNS server must have been asked for; "" for none."""
    tcp: int = 0
    """A port that the lab connects to; 0 for none."""
    to: str = "host"
    """Where that port is: host, guest, or an address of the lab's network."""
    says: str = ""
    """Regular expression that the first bytes from that port must match; "" for any or none."""


@dataclass(frozen=True, slots=True)
class RuleRequest:
    """What a rule is asked for by name: `terminfo: [linux]`."""

    topic: str
    values: tuple[LocatedName, ...]
    where: Location


@dataclass(frozen=True, slots=True)
class Component:
    """A named, reusable piece of a host."""

    name: str
    """section/name: network/dhcp. The manifest's own roots and files are services/manifest,
    its own kernel modules kernel/manifest."""
    section: Section
    summary: str
    where: Location
    needs: tuple[str, ...] = ()
    packages: tuple[PackagePaths, ...] = ()
    applets: tuple[LocatedName, ...] = ()
    """BusyBox applets, each a link in /usr/bin to /usr/bin/busybox."""
    files: tuple[RenderedFile, ...] = ()
    """The applets' links among them; no path stands in two components."""
    modules: tuple[LocatedName, ...] = ()
    """By name, alias, path or glob."""
    hardware: tuple[LocatedName, ...] = ()
    """Modaliases of a machine's devices: what drives them is taken, if anything does."""
    firmware: tuple[LocatedName, ...] = ()
    kconfig: tuple[LocatedName, ...] = ()
    cmdline: tuple[str, ...] = ()
    module_index: tuple[LocatedName, ...] = ()
    """Files of the module index that this component reads: modules.dep, modules.alias."""
    data: tuple[RuleRequest, ...] = ()
    probe: ProbeSettings | None = None
    probes: tuple[ProbeSettings, ...] = ()
    """More of them, each with a name of its own."""


@dataclass(frozen=True, slots=True)
class Waiver:
    """A file that a need would bring in, left out knowingly, or a need that may stay unmet."""

    path: str
    """Path or glob; for `allow-missing` also a soname, a module, a firmware file."""
    because: str
    where: Location


class Priority(StrEnum):
    """Of a library that an ELF file may open at run time, weightiest first.

    Source: UAPI group, ELF Package Metadata, "dlopen() Metadata for ELF Files".
    """

    REQUIRED = "required"
    RECOMMENDED = "recommended"
    SUGGESTED = "suggested"


ALL_FILES = "/**"
"""The glob of all files, which one word for `dlopen` means."""


@dataclass(frozen=True, slots=True)
class DlopenPolicy:
    """Which libraries come along that ELF files may open at run time."""

    path: str
    """Path or glob of the ELF files that say so."""
    priority: Priority
    """The least that is taken."""
    where: Location


class PathAction(StrEnum):
    """What becomes of paths that a file names in its text."""

    FOLLOW = "follow"
    """They come along where a package has them."""
    LIST = "list"
    """They are listed, as those of files that no rule names."""


@dataclass(frozen=True, slots=True)
class PathRule:
    """Of which files the paths that stand in them come along."""

    path: str
    """Path or glob of programs, scripts and configuration files."""
    action: PathAction
    where: Location


class ArchiveKeyword(StrEnum):
    """What stands in place of an archive's mapping."""

    ROOT = "root"
    """Files come from a root that is given when the manifest is used."""


TOOL_ARCHIVE_NAME = "tools"
"""The name of an archive that tools alone come from; as a mirror, this machine's own."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Where packages come from."""

    suites: tuple[str, ...] = ("trixie", "trixie-updates", "trixie-security")
    components: tuple[str, ...] = ("main",)
    mirror: tuple[str, ...] = ()
    """Addresses of mirrors, best first; () for the machine's own."""
    trusted: bool = False
    """True: an unsigned archive is accepted."""
    check_valid_until: bool = True
    signed_by: str = ""
    """OpenPGP certificate file (path on the build machine); "" for Debian's archive keys."""
    root: str = ""
    """An installed root that files come from instead (path on the build machine)."""
    requires_root_option: bool = False
    """True: whoever uses the manifest names the root."""
    owners: bool = True
    """False: a root is not asked which package its files belong to."""
    name: str = ""
    """"" for Debian's own; another archive's name stands in the lock beside its packages."""
    priority: int = 500
    """Of two archives that have a package, the higher one gives it, whatever the version."""
    snapshot: str = ""
    """Address of Debian's tree at one moment: the only one used then, whatever else is known."""
    directory: str = ""
    """A directory of .debs on the build machine, in place of suites and mirror."""
    tools: tuple[str, ...] = ()
    """Suites that the toolbox comes from; () for those of the host."""
    tools_archive: "Archive | None" = None
    """Where they are of another archive than the host's: that one, whose name is TOOLS."""

    @property
    def has_own_tool_suites(self) -> bool:
        """The toolbox comes from other suites, or another archive, than the host."""
        return self.tools_archive is not None or self.tools not in ((), self.suites)


@dataclass(frozen=True, slots=True)
class Pin:
    """Which versions of one package may be taken."""

    package: str
    version: str
    """A version or a glob of versions; "" for any."""
    suite: str
    """"" for any."""
    where: Location


@dataclass(frozen=True, slots=True)
class KernelSettings:
    package: str
    cmdline: tuple[str, ...]
    where: Location


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the user asked for."""

    name: str
    summary: str
    arch: str
    file: str
    """The document's path as given."""
    archive: Archive
    variables: Mapping[str, VariableValue]
    """What `{{ }}` sees, sorted: name, arch, components' defaults, vars, --set."""
    kernel: KernelSettings
    components: tuple[Component, ...]
    """In manifest order, each after those it needs; the last ones hold the manifest's own
    `keep` and `files`."""
    drop: tuple[Waiver, ...]
    allow_missing: tuple[Waiver, ...]
    image: ImageSettings
    budget: Budget
    archives: tuple[Archive, ...] = ()
    """Those beside `archive`."""
    pins: tuple[Pin, ...] = ()
    dlopen: tuple[DlopenPolicy, ...] = ()
    """The last one that a path matches holds; without any, what is required is taken."""
    paths: tuple[PathRule, ...] = ()
    """Files whose named paths come along."""
    elements: tuple[LocatedName, ...] = ()
    """diskimage-builder's elements that are applied to the host's tree."""
    trusted: bool = True
    """False: it may not choose what runs on the build machine; see `trust`."""
    rules: tuple[Path, ...] = ()
    """Files of rules on the build machine, sorted by topic."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Every file that was read to make this: absolute path → SHA-256, sorted; "" for a path that
    was looked for and was not there."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program of the toolbox: run on the build machine, taken from the archive."""

    name: str
    summary: str
    run: RootPath
    packages: tuple[PackagePaths, ...]
    lab: bool
    """True: only the lab needs it."""
    where: Location
