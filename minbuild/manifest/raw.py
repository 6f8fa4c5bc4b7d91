"""Manifests, components and tools as written, before references are resolved."""

from dataclasses import dataclass, field
from enum import StrEnum

from minbuild.manifest.budget_document import RawBudget
from minbuild.manifest.document.nodes import LocatedText
from minbuild.manifest.image_settings import (
    Compression,
    DibSettings,
    DiskSettings,
    ImageFormat,
    ImageSettings,
)
from minbuild.manifest.model import (
    ANY_PACKAGE,
    Archive,
    ArchiveKeyword,
    DlopenPolicy,
    LocatedName,
    Location,
    PackagePaths,
    PathRule,
    RuleRequest,
    Section,
    VariableValue,
    Waiver,
)
from minbuild.manifest.variable_types import VariableDeclaration
from minbuild.paths import RootPath


class Arch(StrEnum):
    """Debian's names. Source: Debian Policy 11.1, dpkg-architecture(1)."""

    AMD64 = "amd64"
    ARM64 = "arm64"
    ARMHF = "armhf"
    I386 = "i386"
    LOONG64 = "loong64"
    PPC64EL = "ppc64el"
    RISCV64 = "riscv64"
    S390X = "s390x"


class IndexFile(StrEnum):
    """Files of a kernel's module index. Source: depmod(8), modules.dep(5)."""

    DEP = "modules.dep"
    DEP_BIN = "modules.dep.bin"
    ALIAS = "modules.alias"
    ALIAS_BIN = "modules.alias.bin"
    SYMBOLS = "modules.symbols"
    SYMBOLS_BIN = "modules.symbols.bin"
    SOFTDEP = "modules.softdep"
    WEAKDEP = "modules.weakdep"
    DEVNAME = "modules.devname"
    ORDER = "modules.order"
    BUILTIN = "modules.builtin"
    BUILTIN_BIN = "modules.builtin.bin"
    BUILTIN_ALIAS_BIN = "modules.builtin.alias.bin"
    BUILTIN_MODINFO = "modules.builtin.modinfo"


@dataclass(frozen=True, slots=True)
class VariableDefinition:
    """A variable with its value or default."""

    name: str
    value: VariableValue
    where: Location
    declaration: VariableDeclaration | None = None
    """What a component says of it; None where it gives a default alone."""
    component: str = ""
    """The component that declares it; "" in a manifest."""


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file as written."""

    where: Location
    content: LocatedText | None = None
    template: tuple[LocatedName, ...] = ()
    """The files of one template, in order."""
    source: LocatedName | None = None
    link: str | None = None
    directory: bool = False
    mode: int | None = None
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class RawFileEntry:
    """A file with its path in the image."""

    path: str
    file: RawFile
    where: Location


@dataclass(frozen=True, slots=True)
class RawSection:
    """A section of a manifest: the components that it uses."""

    use: tuple[LocatedName, ...] = ()


@dataclass(frozen=True, slots=True)
class RawKernel:
    """The section kernel of a manifest."""

    where: Location
    package: str = ""
    cmdline: tuple[str, ...] = ()
    xen_cmdline: tuple[str, ...] = ()
    modules: tuple[LocatedName, ...] = ()
    hardware: LocatedName | None = None
    firmware: bool = True
    use: tuple[LocatedName, ...] = ()
    build: str = ""
    protection: bool = True
    options: tuple[LocatedName, ...] = ()
    patches: tuple[LocatedName, ...] = ()


@dataclass(frozen=True, slots=True)
class RawKeep:
    """Paths or globs of a package, or of an installed root."""

    paths: tuple[str, ...]
    where: Location
    package: str = ANY_PACKAGE


@dataclass(frozen=True, slots=True)
class RawArchive:
    """An additional archive."""

    where: Location
    name: str
    suites: tuple[str, ...] = ()
    components: tuple[str, ...] = ("main",)
    mirror: tuple[str, ...] = ()
    trusted: bool = False
    check_valid_until: bool = True
    signed_by: LocatedName | None = None
    priority: int = 500
    directory: LocatedName | None = None


@dataclass(frozen=True, slots=True)
class RawPin:
    """Version and suite of a pin."""

    version: str = ""
    suite: str = ""


@dataclass(frozen=True, slots=True)
class RawPinEntry:
    """A pin with its package."""

    package: str
    pin: RawPin
    where: Location


@dataclass(frozen=True, slots=True)
class ComponentSet:
    """A named set of components, one value of the matrix."""

    name: str
    use: tuple[LocatedName, ...]
    where: Location


@dataclass(frozen=True, slots=True)
class RawMatrix:
    """Axes whose combinations are separate builds."""

    where: Location
    suite: tuple[str, ...] = ()
    arch: tuple[Arch, ...] = ()
    components: tuple[ComponentSet, ...] = ()


@dataclass(frozen=True, slots=True)
class RawDib:
    """A format `{dib: …}`."""

    where: Location
    dib: DibSettings


@dataclass(frozen=True, slots=True)
class RawSigning:
    """Signing key and certificate; files are relative to their document."""

    key: LocatedName
    certificate: LocatedName
    module: LocatedName | None = None


@dataclass(frozen=True, slots=True)
class RawImage:
    """The `image:` of a manifest; formats in the order written."""

    formats: tuple[ImageFormat | RawDib, ...] = (ImageFormat.UKI, ImageFormat.RAW)
    compression: Compression = Compression.XZ
    disk: DiskSettings = field(default_factory=DiskSettings)
    sign: RawSigning | None = None

    def to_settings(self) -> ImageSettings:
        """Convert to settings; formats of diskimage-builder require the UKI."""
        dib = tuple(entry.dib for entry in self.formats if isinstance(entry, RawDib))
        formats = [entry for entry in self.formats if isinstance(entry, ImageFormat)]
        formats += [ImageFormat.UKI] if dib else []
        return ImageSettings(tuple(dict.fromkeys(formats)), self.compression, self.disk, dib)


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest as written."""

    where: Location
    minbuild: int = 1
    name: str = ""
    summary: str = ""
    extends: tuple[LocatedName, ...] = ()
    arch: Arch = Arch.AMD64
    archive: Archive | ArchiveKeyword = field(default_factory=Archive)
    archives: tuple[RawArchive, ...] = ()
    pins: tuple[RawPinEntry, ...] = ()
    vars: tuple[VariableDefinition, ...] = ()
    kernel: RawKernel | None = None
    hardware: RawSection = RawSection()
    filesystem: RawSection = RawSection()
    network: RawSection = RawSection()
    services: RawSection = RawSection()
    boot: RawSection = RawSection()
    hypervisor: RawSection = RawSection()
    keep: tuple[RawKeep, ...] = ()
    drop: tuple[Waiver, ...] = ()
    allow_missing: tuple[Waiver, ...] = ()
    dlopen: LocatedName | tuple[DlopenPolicy, ...] = ()
    paths: tuple[PathRule, ...] = ()
    files: tuple[RawFileEntry, ...] = ()
    data: tuple[RuleRequest, ...] = ()
    elements: tuple[LocatedName, ...] = ()
    image: RawImage = field(default_factory=RawImage)
    budget: RawBudget = field(default_factory=RawBudget)
    matrix: RawMatrix | None = None

    def get_section(self, section: Section) -> RawKernel | RawSection | None:
        """Return a section of the manifest."""
        part: RawKernel | RawSection | None = getattr(self, section.value)
        return part


@dataclass(frozen=True, slots=True)
class RawProbe:
    """A probe as written; its default name is the component's."""

    where: Location
    name: str = ""
    console: str = ""
    limit: int = 60
    means: str = ""
    lease: bool = False
    lookup: str = ""
    tcp: int = 0
    to: str = "host"
    says: str = ""


@dataclass(frozen=True, slots=True)
class RawComponent:
    """A component as written."""

    where: Location
    summary: str = ""
    needs: tuple[LocatedName, ...] = ()
    vars: tuple[VariableDefinition, ...] = ()
    packages: tuple[PackagePaths, ...] = ()
    applets: tuple[LocatedName, ...] = ()
    files: tuple[RawFileEntry, ...] = ()
    modules: tuple[LocatedName, ...] = ()
    firmware: tuple[LocatedName, ...] = ()
    kconfig: tuple[LocatedName, ...] = ()
    kernel_options: tuple[LocatedName, ...] = ()
    cmdline: tuple[str, ...] = ()
    xen_cmdline: tuple[str, ...] = ()
    module_index: tuple[LocatedName, ...] = ()
    allow_missing: tuple[Waiver, ...] = ()
    data: tuple[RuleRequest, ...] = ()
    probe: RawProbe | LocatedName | None = None
    probes: tuple[RawProbe, ...] = ()
    bios: bool = False
    loader: bool = False
    microcode: bool = False


@dataclass(frozen=True, slots=True)
class RawTool:
    """A tool of the toolbox as written."""

    where: Location
    summary: str
    run: RootPath
    packages: tuple[PackagePaths, ...]
    lab: bool = False
