"""A manifest with all defaults filled in, every reference found and every template rendered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from minbuild.manifest.limits import Budget as Budget  # noqa: PLC0414
from minbuild.manifest.places import Name as Name  # noqa: PLC0414
from minbuild.manifest.places import Where as Where  # noqa: PLC0414
from minbuild.paths import RootPath

Value = str | int | bool | tuple[str, ...]
"""What a variable can be."""


class Section(StrEnum):
    """Where a component stands, and how a report is broken down; in the report's order."""

    KERNEL = "kernel"
    FILESYSTEM = "filesystem"
    NETWORK = "network"
    SERVICES = "services"
    BOOT = "boot"
    HYPERVISOR = "hypervisor"


class Compression(StrEnum):
    XZ = "xz"
    ZSTD = "zstd"
    NONE = "none"


class ImageFormat(StrEnum):
    UKI = "uki"
    RAW = "raw"
    QCOW2 = "qcow2"
    VHDX = "vhdx"
    VMDK = "vmdk"
    VMDK_STREAM = "vmdk-stream"
    VDI = "vdi"
    ISO = "iso"
    PXE = "pxe"
    TAR = "tar"
    CPIO = "cpio"


class Holds(StrEnum):
    """What a partition holds."""

    ESP = "esp"
    """The EFI System Partition with the host's one file."""
    EXT4 = "ext4"
    FAT = "fat"
    EMPTY = "empty"
    """Nothing: its bytes are zero."""


ANY = "*"
"""In place of a package: whichever has the path in an installed root."""


@dataclass(frozen=True, slots=True)
class PackagePaths:
    """Roots: paths or globs of one package."""

    package: str
    paths: tuple[str, ...]
    """As written: `/usr/bin/lspci`, `/usr/share/qemu/*.bin`."""
    where: Where


@dataclass(frozen=True, slots=True)
class Content:
    """A file's text as it stands in a document, not yet rendered."""

    text: str
    where: Where
    block: bool
    """True: a `|` block, whose first line is the line after `where`."""


@dataclass(frozen=True, slots=True)
class Template:
    """What a rendered file was made from."""

    text: str | None
    """None: it cannot be read, which was told."""
    where: Where
    """The template's first file, or the document with the text."""
    above: int = 0
    """Lines of that file before the text."""
    parts: tuple[Where, ...] = ()
    """Each file of the template, and the line of `text` that it begins with."""


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A file, link or directory that the manifest itself makes."""

    path: RootPath
    where: Where
    content: bytes = b""
    """The bytes as they stand in the image: rendered, or copied from `source`."""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""
    """A link's text; "" for a regular file or directory."""
    directory: bool = False
    template: Template | None = field(default=None, compare=False)
    """None: copied as it is, or no regular file."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What the lab checks on a booted host."""

    name: str
    where: Where
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
class Data:
    """What a rule is asked for by name: `terminfo: [linux]`."""

    topic: str
    values: tuple[Name, ...]
    where: Where


@dataclass(frozen=True, slots=True)
class Component:
    """A named, reusable piece of a host."""

    name: str
    """section/name: network/dhcp. The manifest's own roots and files are services/manifest,
    its own kernel modules kernel/manifest."""
    section: Section
    summary: str
    where: Where
    needs: tuple[str, ...] = ()
    packages: tuple[PackagePaths, ...] = ()
    applets: tuple[Name, ...] = ()
    """BusyBox applets, each a link in /usr/bin to /usr/bin/busybox."""
    files: tuple[RenderedFile, ...] = ()
    """The applets' links among them; no path stands in two components."""
    modules: tuple[Name, ...] = ()
    """By name, alias, path or glob."""
    hardware: tuple[Name, ...] = ()
    """Modaliases of a machine's devices: what drives them is taken, if anything does."""
    firmware: tuple[Name, ...] = ()
    kconfig: tuple[Name, ...] = ()
    cmdline: tuple[str, ...] = ()
    module_index: tuple[Name, ...] = ()
    """Files of the module index that this component reads: modules.dep, modules.alias."""
    data: tuple[Data, ...] = ()
    probe: Probe | None = None
    probes: tuple[Probe, ...] = ()
    """More of them, each with a name of its own."""


@dataclass(frozen=True, slots=True)
class Waiver:
    """A file that a need would bring in, left out knowingly, or a need that may stay unmet."""

    path: str
    """Path or glob; for `allow-missing` also a soname, a module, a firmware file."""
    because: str
    where: Where


class Priority(StrEnum):
    """Of a library that an ELF file may open at run time, weightiest first.

    Source: UAPI group, ELF Package Metadata, "dlopen() Metadata for ELF Files".
    """

    REQUIRED = "required"
    RECOMMENDED = "recommended"
    SUGGESTED = "suggested"


EVERY = "/**"
"""The glob of all files, which one word for `dlopen` means."""


@dataclass(frozen=True, slots=True)
class DlopenRule:
    """Which libraries come along that ELF files may open at run time."""

    path: str
    """Path or glob of the ELF files that say so."""
    priority: Priority
    """The least that is taken."""
    where: Where


class PathWord(StrEnum):
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
    word: PathWord
    where: Where


class ArchiveWord(StrEnum):
    """What stands in place of an archive's mapping."""

    ROOT = "root"
    """Files come from a root that is given when the manifest is used."""


TOOLS = "tools"
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
    root_to_give: bool = False
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
    def tools_apart(self) -> bool:
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
    where: Where


@dataclass(frozen=True, slots=True)
class Kernel:
    package: str
    cmdline: tuple[str, ...]
    where: Where


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of the disk."""

    where: Where
    holds: Holds
    name: str = ""
    """In the partition table; "" for one that follows from `holds`."""
    label: str = ""
    """Of the file system."""
    size: int | None = None
    """Bytes. None: the ESP as small as can be, any other takes what is left of the disk."""


@dataclass(frozen=True, slots=True)
class DiskWish:
    """How the disk is laid out; no partitions stand for an ESP alone."""

    size: int | None = None
    """Bytes; None for as small as can be."""
    partitions: tuple[Partition, ...] = ()
    bios: bool = False
    """True: a BIOS starts it too."""


class DibLayout(StrEnum):
    """How diskimage-builder lays an image out."""

    PLAIN = "plain"
    """One file system over the whole image."""
    GPT = "gpt"
    """ESP, root and data: the layout of the element minbuild-boot."""


class DibFormat(StrEnum):
    QCOW2 = "qcow2"
    RAW = "raw"
    TAR = "tar"
    SQUASHFS = "squashfs"


@dataclass(frozen=True, slots=True)
class DibWish:
    """Images that diskimage-builder makes of the host."""

    where: Where
    elements: tuple[str, ...] = ()
    """Beside minbuild-root, in the user's order."""
    layout: DibLayout = DibLayout.PLAIN
    formats: tuple[DibFormat, ...] = (DibFormat.QCOW2,)


@dataclass(frozen=True, slots=True)
class Sign:
    """What the one file that boots is signed with, for UEFI Secure Boot."""

    key: str
    """PEM file on the build machine, or the URI of a key in a token. Source: RFC 7512."""
    certificate: str
    """PEM file on the build machine."""
    module: str = ""
    """The token's PKCS#11 module, a shared library of the build machine; "" for a key in a file."""


@dataclass(frozen=True, slots=True)
class ImageWish:
    formats: tuple[ImageFormat, ...] = (ImageFormat.UKI, ImageFormat.RAW)
    compression: Compression = Compression.XZ
    disk: DiskWish = field(default_factory=DiskWish)
    dib: tuple[DibWish, ...] = ()
    sign: Sign | None = None
    """None: it is not signed."""
    instead_of: Compression | None = None
    """The manifest's own compression, where the command line asked for another."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the user asked for."""

    name: str
    summary: str
    arch: str
    file: str
    """The document's path as given."""
    archive: Archive
    variables: Mapping[str, Value]
    """What `{{ }}` sees, sorted: name, arch, components' defaults, vars, --set."""
    kernel: Kernel
    components: tuple[Component, ...]
    """In manifest order, each after those it needs; the last ones hold the manifest's own
    `keep` and `files`."""
    drop: tuple[Waiver, ...]
    allow_missing: tuple[Waiver, ...]
    image: ImageWish
    budget: Budget
    archives: tuple[Archive, ...] = ()
    """Those beside `archive`."""
    pins: tuple[Pin, ...] = ()
    dlopen: tuple[DlopenRule, ...] = ()
    """The last one that a path matches holds; without any, what is required is taken."""
    paths: tuple[PathRule, ...] = ()
    """Files whose named paths come along."""
    elements: tuple[Name, ...] = ()
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
    where: Where
