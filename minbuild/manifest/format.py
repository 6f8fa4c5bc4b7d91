"""The format: every key of a manifest, a component and a tool, with its shape and its meaning."""

from dataclasses import dataclass, field
from enum import StrEnum

from minbuild.manifest import shapes
from minbuild.manifest.shapes import (
    Choice,
    Either,
    Flag,
    Key,
    Many,
    Mode,
    Named,
    Record,
    Shape,
    Size,
    Table,
    Text,
    Whole,
)
from minbuild.manifest.types import (
    Archive,
    Budget,
    Compression,
    ImageFormat,
    ImageWish,
    Name,
    PackagePaths,
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
    content: str | None = None
    template: Name | None = None
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
    use: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class HostDocument:
    """A manifest as it is written."""

    where: Where
    minbuild: int = 1
    name: str = ""
    summary: str = ""
    extends: tuple[Name, ...] = ()
    arch: Arch = Arch.AMD64
    archive: Archive = field(default_factory=Archive)
    vars: tuple[Variable, ...] = ()
    kernel: KernelPart | None = None
    filesystem: SectionPart = SectionPart()
    network: SectionPart = SectionPart()
    services: SectionPart = SectionPart()
    boot: SectionPart = SectionPart()
    hypervisor: SectionPart = SectionPart()
    keep: tuple[PackagePaths, ...] = ()
    drop: tuple[Waiver, ...] = ()
    allow_missing: tuple[Waiver, ...] = ()
    files: tuple[FileEntry, ...] = ()
    image: ImageWish = field(default_factory=ImageWish)
    budget: Budget = field(default_factory=Budget)

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
    probe: ProbeWish | Name | None = None


@dataclass(frozen=True, slots=True)
class ToolDocument:
    """A tool of the toolbox as it is written."""

    where: Where
    summary: str
    run: RootPath
    packages: tuple[PackagePaths, ...]
    lab: bool = False


ONE_NAME = "[a-z0-9][a-z0-9+._-]*"
_PACKAGE = Text("a package's name", "[a-z0-9][a-z0-9+.-]+", "write the name that apt knows")
_ROOT_PATH = Text("an absolute path", "/[^\\x00]*", "begin it with /")
_LOCAL = Named(Text("a file's name", "[^\\x00]+", "name a file, relative to this document"))
_OTHER = Named(Text("a manifest's file", "[^\\x00]+", template=False))
_WORD = Text("one word", "[^ \\t\\n\\x00]+", "write one word for each list item")
_VARIABLE = Text("a variable's name", "[A-Za-z_][A-Za-z0-9_]*", "use letters, digits and _", False)
_REFERENCE = Named(
    Text(
        "a component's name",
        f"({ONE_NAME}/)?{ONE_NAME}",
        "write name, or section/name; names are lower case and hold no template",
        template=False,
    )
)
_MODULES = Many(Named(Text("a module's name", "[A-Za-z0-9_.-]+", "write what modinfo calls it")))
_OPTION = Text("a kernel option", "(?!CONFIG_)[A-Za-z0-9_]+", "write it without CONFIG_")
_APPLET = Text("an applet's name", "[A-Za-z0-9_.+\\[-]+", "write what busybox --list calls it")
_PATHS = Many(_ROOT_PATH, least=1)

FILE: Shape[FileWish] = Record(
    FileWish,
    "A file, link or directory that minbuild makes.",
    (
        Key("content", Text(), "The file's text, rendered."),
        Key("template", _LOCAL, "A jinja2 template, relative to this document."),
        Key("source", _LOCAL, "A local file, copied as it is, relative to this document."),
        Key("link", Text("a link's text", "[^\\x00]+"), "The text of a symbolic link."),
        Key("directory", Flag(only_true=True), "true: an empty directory."),
        Key("mode", Mode(), 'Octal, in quotes; "0644" by default, "0755" for a directory.'),
        Key("uid", Whole(), "The owner's number."),
        Key("gid", Whole(), "The group's number."),
    ),
    one_of=("content", "template", "source", "link", "directory"),
    apart=(("link", "mode"),),
)
_FILES = Table(_ROOT_PATH, FILE, FileEntry)
_VALUE: Shape[Value] = shapes.Variable()
_VARS: Shape[tuple[Variable, ...]] = Table(_VARIABLE, _VALUE, Variable, keep_bad="")
_PACKAGES = Table(_PACKAGE, _PATHS, PackagePaths)
_KEEP: Shape[PackagePaths] = Record(
    PackagePaths,
    "Paths or globs of a package.",
    (
        Key("package", _PACKAGE, "The package that holds them.", required=True),
        Key("paths", _PATHS, "Absolute paths or globs.", required=True),
    ),
)
_DROP: Shape[Waiver] = Record(
    Waiver,
    "A file that is left out knowingly.",
    (
        Key("path", _ROOT_PATH, "An absolute path or glob.", required=True),
        Key("because", Text(), "The reason, for people.", required=True),
    ),
)
_ALLOW: Shape[Waiver] = Record(
    Waiver,
    "A need that may stay unmet.",
    (
        Key(
            "path",
            Text("a path or name", "[^\\x00]+"),
            "A path, soname, module or firmware file, or a glob of them.",
            required=True,
        ),
        Key("because", Text(), "The reason, for people.", required=True),
    ),
)
_PROBE: Shape[ProbeWish] = Record(
    ProbeWish,
    "What the lab checks on a booted host.",
    (
        Key("name", _WORD, "The probe's name; without it, the component's."),
        Key("console", Text(), "A regular expression that a line on the console must match."),
        Key("limit", Whole(1, 3600), "Seconds since power-on, under emulation."),
        Key("means", Text(), "What a failure means, for people."),
    ),
)
_ARCHIVE: Shape[Archive] = Record(
    Archive,
    "The Debian archive that packages come from.",
    (
        Key("suites", Many(_WORD, least=1), "Suites, all of them used."),
        Key(
            "components", Many(_WORD, least=1), "The archive's components: main, non-free-firmware."
        ),
        Key("mirror", Text(), "The mirror's address; without it, the machine's own."),
        Key("trusted", Flag(), "true: an unsigned archive is accepted."),
        Key("check-valid-until", Flag(), "false: a Release past its date is accepted."),
        Key("signed-by", Text("a file's name"), "OpenPGP certificates, relative to this document."),
    ),
)
_KERNEL: Shape[KernelPart] = Record(
    KernelPart,
    "The kernel.",
    (
        Key("package", _PACKAGE, "The package that holds the kernel; a metapackage will do."),
        Key("cmdline", Many(_WORD), "Words of the kernel's command line."),
        Key("modules", _MODULES, "Modules beside those of components."),
        Key("use", Many(_REFERENCE), "Components of this section."),
    ),
)


def _section(section: Section) -> Key:
    use = Key("use", Many(_REFERENCE), "Components of this section.")
    about = f"The section {section.value}."
    return Key(section.value, Record(SectionPart, about, (use,)), about)


EXTENDS = Many(_OTHER)
MANIFEST: Record[HostDocument] = Record(
    HostDocument,
    "A host.",
    (
        Key("minbuild", Whole(1, 1), "The version of this format: 1.", required=True),
        Key(
            "name",
            Text("a manifest's name", ONE_NAME, "use lower case, digits and -", template=False),
            "The host's name, that of its output; without it, the file's.",
        ),
        Key("summary", Text(), "One line, for people."),
        Key("extends", EXTENDS, "Manifests that this one is merged onto, in order."),
        Key("arch", Choice("architecture", Arch), "Debian's name of the architecture."),
        Key("archive", _ARCHIVE, "Where packages come from."),
        Key("vars", _VARS, "Variables for every string and template."),
        Key("kernel", _KERNEL, "The kernel, and components of its section."),
        *(_section(section) for section in Section if section is not Section.KERNEL),
        Key("keep", Many(_KEEP), "Roots beside the components'."),
        Key("drop", Many(_DROP), "Files that a need would bring in, left out knowingly."),
        Key("allow-missing", Many(_ALLOW), "Needs that may stay unmet."),
        Key("files", _FILES, "Files that minbuild makes; they replace those of components."),
        Key(
            "image",
            Record(
                ImageWish,
                "What is written.",
                (
                    Key("formats", Many(Choice("image format", ImageFormat), least=1), "Outputs."),
                    Key("compression", Choice("compression", Compression), "Of the initramfs."),
                ),
            ),
            "What is written.",
        ),
        Key(
            "budget",
            Record(
                Budget,
                "Limits; a build over one of them fails.",
                (
                    Key("files", Whole(), "Regular files, the kernel included."),
                    Key("bytes", Size(), "Sum of their sizes."),
                    Key("packed", Size(), "Size of the one file that boots."),
                ),
            ),
            "Limits; a build over one of them fails.",
        ),
    ),
)

COMPONENT: Record[ComponentDocument] = Record(
    ComponentDocument,
    "A component: SECTION/NAME.yaml.",
    (
        Key("summary", Text(), "One line, for people.", required=True),
        Key("needs", Many(_REFERENCE), "Components that come with this one, before it."),
        Key("vars", _VARS, "Variables and their defaults."),
        Key("packages", _PACKAGES, "Package: its paths or globs that are roots."),
        Key("applets", Many(Named(_APPLET)), "BusyBox applets: links in /usr/bin."),
        Key("files", _FILES, "Files that minbuild makes."),
        Key("modules", _MODULES, "Kernel modules, or what is built in."),
        Key("firmware", Many(Named(_WORD)), "Firmware files or globs, below /usr/lib/firmware."),
        Key("kconfig", Many(Named(_OPTION)), "Kernel options that must be y or m."),
        Key("cmdline", Many(_WORD), "Words of the kernel's command line."),
        Key(
            "module-index",
            Many(Named(Choice("file of the module index", IndexFile))),
            "Files of the module index that this component reads.",
        ),
        Key("allow-missing", Many(_ALLOW), "Needs that may stay unmet."),
        Key("probe", Either(Named(_WORD), _PROBE), "What the lab checks on a booted host."),
    ),
)

TOOL: Record[ToolDocument] = Record(
    ToolDocument,
    "A program of the toolbox: NAME.yaml.",
    (
        Key("summary", Text(), "One line, for people.", required=True),
        Key("run", _ROOT_PATH, "The program's path in its package.", required=True),
        Key("packages", _PACKAGES, "Package: its paths or globs that are roots.", required=True),
        Key("lab", Flag(), "true: only the lab needs it."),
    ),
)
