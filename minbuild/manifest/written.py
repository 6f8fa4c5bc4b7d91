"""Documents as they are written: manifests, components and tools before anything is looked up."""

from dataclasses import dataclass, field
from enum import StrEnum

from minbuild.manifest.budget import BudgetPart
from minbuild.manifest.types import (
    ANY,
    Archive,
    ArchiveWord,
    Compression,
    Content,
    Data,
    DibWish,
    DiskWish,
    DlopenRule,
    ImageFormat,
    ImageWish,
    Name,
    PackagePaths,
    PathRule,
    Section,
    Value,
    Waiver,
    Where,
)
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
class Variable:
    name: str
    value: Value
    where: Where


@dataclass(frozen=True, slots=True)
class FileWish:
    """A file as a document asks for it."""

    where: Where
    content: Content | None = None
    template: tuple[Name, ...] = ()
    """The files of one template, in order."""
    source: Name | None = None
    link: str | None = None
    directory: bool = False
    mode: int | None = None
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class FileEntry:
    path: str
    wish: FileWish
    where: Where


@dataclass(frozen=True, slots=True)
class SectionPart:
    use: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class KernelPart:
    where: Where
    package: str = ""
    cmdline: tuple[str, ...] = ()
    modules: tuple[Name, ...] = ()
    hardware: Name | None = None
    use: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class KeepEntry:
    """Paths or globs of a package, or of an installed root."""

    paths: tuple[str, ...]
    where: Where
    package: str = ANY


@dataclass(frozen=True, slots=True)
class ArchiveWish:
    """An archive beside Debian's own."""

    where: Where
    name: str
    suites: tuple[str, ...] = ()
    components: tuple[str, ...] = ("main",)
    mirror: tuple[str, ...] = ()
    trusted: bool = False
    check_valid_until: bool = True
    signed_by: Name | None = None
    priority: int = 500
    directory: Name | None = None


@dataclass(frozen=True, slots=True)
class PinWish:
    version: str = ""
    suite: str = ""


@dataclass(frozen=True, slots=True)
class PinEntry:
    package: str
    wish: PinWish
    where: Where


@dataclass(frozen=True, slots=True)
class ComponentSet:
    """A named set of components, one value of a matrix's axis."""

    name: str
    use: tuple[Name, ...]
    where: Where


@dataclass(frozen=True, slots=True)
class MatrixPart:
    """Axes whose every combination is a build of its own."""

    where: Where
    suite: tuple[str, ...] = ()
    arch: tuple[Arch, ...] = ()
    components: tuple[ComponentSet, ...] = ()


@dataclass(frozen=True, slots=True)
class DibEntry:
    where: Where
    dib: DibWish


@dataclass(frozen=True, slots=True)
class SignPart:
    """What to sign with; files are relative to the document that names them."""

    key: Name
    certificate: Name
    module: Name | None = None


@dataclass(frozen=True, slots=True)
class ImagePart:
    """What is written, in the order in which it is listed."""

    formats: tuple[ImageFormat | DibEntry, ...] = (ImageFormat.UKI, ImageFormat.RAW)
    compression: Compression = Compression.XZ
    disk: DiskWish = field(default_factory=DiskWish)
    sign: SignPart | None = None

    def wish(self) -> ImageWish:
        """Ours apart from dib's, which are made of the UKI."""
        dib = tuple(each.dib for each in self.formats if isinstance(each, DibEntry))
        ours = [each for each in self.formats if isinstance(each, ImageFormat)]
        ours += [ImageFormat.UKI] if dib else []
        return ImageWish(tuple(dict.fromkeys(ours)), self.compression, self.disk, dib)


@dataclass(frozen=True, slots=True)
class HostDocument:
    """A manifest as it is written."""

    where: Where
    minbuild: int = 1
    name: str = ""
    summary: str = ""
    extends: tuple[Name, ...] = ()
    arch: Arch = Arch.AMD64
    archive: Archive | ArchiveWord = field(default_factory=Archive)
    archives: tuple[ArchiveWish, ...] = ()
    pins: tuple[PinEntry, ...] = ()
    vars: tuple[Variable, ...] = ()
    kernel: KernelPart | None = None
    filesystem: SectionPart = SectionPart()
    network: SectionPart = SectionPart()
    services: SectionPart = SectionPart()
    boot: SectionPart = SectionPart()
    hypervisor: SectionPart = SectionPart()
    keep: tuple[KeepEntry, ...] = ()
    drop: tuple[Waiver, ...] = ()
    allow_missing: tuple[Waiver, ...] = ()
    dlopen: Name | tuple[DlopenRule, ...] = ()
    paths: tuple[PathRule, ...] = ()
    files: tuple[FileEntry, ...] = ()
    data: tuple[Data, ...] = ()
    elements: tuple[Name, ...] = ()
    image: ImagePart = field(default_factory=ImagePart)
    budget: BudgetPart = field(default_factory=BudgetPart)
    matrix: MatrixPart | None = None

    def part(self, section: Section) -> KernelPart | SectionPart | None:
        """What the manifest says of a section."""
        part: KernelPart | SectionPart | None = getattr(self, section.value)
        return part


@dataclass(frozen=True, slots=True)
class ProbeWish:
    """A probe as a component asks for it; without a name it has the component's."""

    where: Where
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
class ComponentDocument:
    """A component as it is written."""

    where: Where
    summary: str = ""
    needs: tuple[Name, ...] = ()
    vars: tuple[Variable, ...] = ()
    packages: tuple[PackagePaths, ...] = ()
    applets: tuple[Name, ...] = ()
    files: tuple[FileEntry, ...] = ()
    modules: tuple[Name, ...] = ()
    firmware: tuple[Name, ...] = ()
    kconfig: tuple[Name, ...] = ()
    cmdline: tuple[str, ...] = ()
    module_index: tuple[Name, ...] = ()
    allow_missing: tuple[Waiver, ...] = ()
    data: tuple[Data, ...] = ()
    probe: ProbeWish | Name | None = None
    probes: tuple[ProbeWish, ...] = ()
    bios: bool = False


@dataclass(frozen=True, slots=True)
class ToolDocument:
    """A tool of the toolbox as it is written."""

    where: Where
    summary: str
    run: RootPath
    packages: tuple[PackagePaths, ...]
    lab: bool = False
