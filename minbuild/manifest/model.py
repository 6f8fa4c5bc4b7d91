"""Manifest with all defaults, references resolved and templates rendered: frozen data."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from minbuild.manifest.document.nodes import LocatedName as LocatedName  # noqa: PLC0414
from minbuild.manifest.document.nodes import Location as Location  # noqa: PLC0414
from minbuild.manifest.image_settings import ImageSettings
from minbuild.manifest.limits import Budget as Budget  # noqa: PLC0414
from minbuild.paths import RootPath

VariableValue = str | int | bool | tuple[str, ...]
"""Value of a variable."""


class Section(StrEnum):
    """Sections of components and of reports, in the order of reports."""

    KERNEL = "kernel"
    HARDWARE = "hardware"
    FILESYSTEM = "filesystem"
    NETWORK = "network"
    SERVICES = "services"
    BOOT = "boot"
    HYPERVISOR = "hypervisor"


ANY_PACKAGE = "*"
"""Instead of a package: the package that has the path in an installed root."""


@dataclass(frozen=True, slots=True)
class PackagePaths:
    """Roots: paths or globs of one package."""

    package: str
    paths: tuple[str, ...]
    """As written: `/usr/bin/lspci`, `/usr/share/qemu/*.bin`."""
    where: Location


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """Template of a rendered file."""

    text: str | None
    """None: not readable, which is a problem."""
    where: Location
    """The template's first file, or the document with the text."""
    lines_above: int = 0
    """Lines of that file before the text."""
    parts: tuple[Location, ...] = ()
    """Each file of the template, with its first line in `text`."""


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A file, link or directory that a manifest or component defines."""

    path: RootPath
    where: Location
    content: bytes = b""
    """The bytes in the image: rendered, or copied from `source`."""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""
    """A link's text; "" for a regular file or directory."""
    directory: bool = False
    template: TemplateSource | None = field(default=None, compare=False)
    """None: copied unchanged, or not a regular file."""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """A check of the lab on a booted host."""

    name: str
    where: Location
    console: str = ""
    """Regular expression that a console line must match; "" for a built-in probe of the lab."""
    limit: int = 60
    """Seconds since power-on under emulation."""
    means: str = ""
    """Meaning of a failure, for people."""
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
    """Values for a data rule: `terminfo: [linux]`."""

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
    """Including links of applets; each path is in one component only."""
    modules: tuple[LocatedName, ...] = ()
    """By name, alias, path or glob."""
    hardware: tuple[LocatedName, ...] = ()
    """Modaliases of a machine's devices: their drivers are included, if there are any."""
    firmware: tuple[LocatedName, ...] = ()
    kconfig: tuple[LocatedName, ...] = ()
    """Options that the kernel must have, built in or as a module."""
    kernel_options: tuple[LocatedName, ...] = ()
    """NAME, NAME=VALUE or a glob: what a kernel that is built for the host is given besides."""
    cmdline: tuple[str, ...] = ()
    xen_cmdline: tuple[str, ...] = ()
    """Words for the hypervisor Xen, in an image that has it."""
    module_index: tuple[LocatedName, ...] = ()
    """Files of the module index that this component reads: modules.dep, modules.alias."""
    data: tuple[RuleRequest, ...] = ()
    probe: ProbeSettings | None = None
    probes: tuple[ProbeSettings, ...] = ()
    """More of them, each with a name of its own."""
    microcode: bool = False
    """True: its firmware is microcode, joined into what the kernel reads before the initramfs."""


@dataclass(frozen=True, slots=True)
class Waiver:
    """An exception: a needed file to drop, or a need that may stay unmet."""

    path: str
    """Path or glob; for `allow-missing` also a soname, a module, a firmware file."""
    because: str
    where: Location


class Priority(StrEnum):
    """Priority of a library that an ELF file can open at run time, highest first.

    Source: UAPI group, ELF Package Metadata, "dlopen() Metadata for ELF Files".
    """

    REQUIRED = "required"
    RECOMMENDED = "recommended"
    SUGGESTED = "suggested"


ALL_FILES = "/**"
"""The glob of all files, for a `dlopen` that is a single keyword."""


@dataclass(frozen=True, slots=True)
class DlopenPolicy:
    """Which libraries to include that ELF files can open at run time."""

    path: str
    """Path or glob of the ELF files."""
    priority: Priority
    """The lowest priority to include."""
    where: Location


class PathAction(StrEnum):
    """What to do with paths in the text of a file."""

    FOLLOW = "follow"
    """Include them if a package has them."""
    LIST = "list"
    """List them only, as for files without a rule."""


@dataclass(frozen=True, slots=True)
class PathRule:
    """Files whose text is searched for paths."""

    path: str
    """Path or glob of programs, scripts and configuration files."""
    action: PathAction
    where: Location


class ArchiveKeyword(StrEnum):
    """Keywords instead of the mapping of an archive."""

    ROOT = "root"
    """Files come from a root that is given when the manifest is used."""


TOOL_ARCHIVE_NAME = "tools"
"""Name of a separate archive for tools; as a mirror, the one of this machine."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive, an installed root, or a directory of .debs that packages come from."""

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
    """An installed root instead of packages (path on the build machine)."""
    requires_root_option: bool = False
    """True: the user gives the root by --root."""
    owners: bool = True
    """False: ignore the package database of the root."""
    name: str = ""
    """"" for Debian's own; the lock has the name of another archive."""
    priority: int = 500
    """Of two archives with a package, the higher priority wins, whatever the version."""
    snapshot: str = ""
    """Address of a snapshot of Debian's repository; replaces all other mirrors."""
    directory: str = ""
    """A directory of .debs on the build machine, instead of suites and mirror."""
    tools: tuple[str, ...] = ()
    """Suites of the toolbox; () for those of the host."""
    tools_archive: "Archive | None" = None
    """Their archive, if it is not the host's; its name is TOOL_ARCHIVE_NAME."""

    @property
    def has_own_tool_suites(self) -> bool:
        """Whether the toolbox has other suites, or another archive, than the host."""
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
class KernelPatch:
    """A change of a kernel's source, as a unified diff."""

    name: str
    """As the manifest names it."""
    content: bytes
    where: Location

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """Package and command line of the kernel."""

    package: str
    cmdline: tuple[str, ...]
    where: Location
    xen_cmdline: tuple[str, ...] = ()
    firmware: bool = True
    """False: firmware files that its modules name are left out."""
    is_built: bool = False
    """True: `package` has the source that it is compiled from."""
    patches: tuple[KernelPatch, ...] = ()
    """Applied to that source, in this order."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that the user asks for; the input of the pipeline.

    `components` has each component after those it needs, and the manifest's own `keep` and `files`
    last; every path of `files` is in one component only.
    """

    name: str
    summary: str
    arch: str
    file: str
    """The document's path as given."""
    archive: Archive
    variables: Mapping[str, VariableValue]
    """Values for `{{ }}`, sorted: name, arch, defaults of components, vars, --set."""
    kernel: KernelSettings
    components: tuple[Component, ...]
    """In the order of the manifest."""
    drop: tuple[Waiver, ...]
    allow_missing: tuple[Waiver, ...]
    image: ImageSettings
    budget: Budget
    archives: tuple[Archive, ...] = ()
    """Additional archives."""
    pins: tuple[Pin, ...] = ()
    dlopen: tuple[DlopenPolicy, ...] = ()
    """The last matching one counts; without any, required libraries are included."""
    paths: tuple[PathRule, ...] = ()
    """Files whose text is searched for paths."""
    elements: tuple[LocatedName, ...] = ()
    """Elements of diskimage-builder that run on the host's root."""
    trusted: bool = True
    """False: it cannot run code on the build machine; see `input_files.Trust`."""
    rules: tuple[Path, ...] = ()
    """Rule files on the build machine, sorted by topic."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Every input file: absolute path → SHA-256, sorted; "" for a path that did not exist."""
    notes: tuple[str, ...] = ()
    """What its user should know of it: variables that are empty and have a meaning then."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program of the toolbox: it comes from the archive and runs on the build machine."""

    name: str
    summary: str
    run: RootPath
    packages: tuple[PackagePaths, ...]
    lab: bool
    """True: only the lab needs it."""
    where: Location
