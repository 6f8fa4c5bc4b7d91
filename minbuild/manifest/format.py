"""The format: every key of a manifest, a component and a tool, with its shape and its meaning."""

from minbuild.manifest import cmdline, scalars, slips
from minbuild.manifest.budget import PART
from minbuild.manifest.outputs import ELEMENTS, FORMAT
from minbuild.manifest.scalars import Choice, Flag, Mode, Named, Raw, Size, Text, Whole
from minbuild.manifest.shape import Shape
from minbuild.manifest.shapes import Alterable, Either, Key, Many, OneOrMany, Record, Table
from minbuild.manifest.topics import TOPIC
from minbuild.manifest.types import (
    Archive,
    ArchiveWord,
    Compression,
    Data,
    DiskWish,
    DlopenRule,
    Holds,
    PackagePaths,
    Partition,
    PathRule,
    PathWord,
    Priority,
    Section,
    Value,
    Waiver,
)
from minbuild.manifest.written import (
    Arch,
    ArchiveWish,
    ComponentDocument,
    ComponentSet,
    FileEntry,
    FileWish,
    HostDocument,
    ImagePart,
    IndexFile,
    KeepEntry,
    KernelPart,
    MatrixPart,
    PinEntry,
    PinWish,
    ProbeWish,
    SectionPart,
    SignPart,
    ToolDocument,
    Variable,
)

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
_WHOLE_REFERENCE = Named(
    Text("a component's name", f"{ONE_NAME}/{ONE_NAME}", "write section/name", template=False)
)
_SET = Text("a name", ONE_NAME, "use lower case, digits and -", template=False)
_MODULES = Many(
    Named(Text("a module's name", "[^ \\t\\n\\x00]+", "write a name, an alias, a path or a glob"))
)
_ARCH = Choice("architecture", Arch, slips.ARCHITECTURES)
_PRIORITY = Choice("priority", Priority)
_OPTION = Text("a kernel option", "(?!CONFIG_)[A-Za-z0-9_]+", "write it without CONFIG_")
_APPLET = Text("an applet's name", "[A-Za-z0-9_.+\\[-]+", "write what busybox --list calls it")
_TOPIC = Text("the name of a file of rules", TOPIC, "use lower case, digits and -", False)
_DATA = Table(_TOPIC, Many(Named(_WORD), least=1), Data)
_PATHS = Many(_ROOT_PATH, least=1)

FILE: Shape[FileWish] = Record(
    FileWish,
    "A file, link or directory that minbuild makes.",
    (
        Key("content", Raw(), "The file's text, rendered."),
        Key(
            "template",
            OneOrMany(_LOCAL),
            "A jinja2 template, relative to this document; of several, one file in their order.",
        ),
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
_VALUE: Shape[Value] = scalars.Variable()
_VARS: Shape[tuple[Variable, ...]] = Table(_VARIABLE, _VALUE, Variable, keep_bad="")
_PACKAGES = Table(_PACKAGE, _PATHS, PackagePaths)
_KEEP: Shape[KeepEntry] = Record(
    KeepEntry,
    "Paths or globs of a package.",
    (
        Key("package", _PACKAGE, "The package that holds them; not needed in an installed root."),
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
_PEER = Text("a place to connect to", "host|guest|[0-9.]+", "write host, guest, or an IPv4 address")
_PROBE: Shape[ProbeWish] = Record(
    ProbeWish,
    "What the lab checks on a booted host.",
    (
        Key("name", _WORD, "The probe's name; without it, the component's."),
        Key("console", Text(), "A regular expression that a line on the console must match."),
        Key("limit", Whole(1, 3600), "Seconds since power-on, under emulation."),
        Key("means", Text(), "What a failure means, for people."),
        Key("lease", Flag(only_true=True), "The lab's DHCP server granted the host an address."),
        Key("lookup", _WORD, "A name that the lab's DNS server was asked for."),
        Key("tcp", Whole(1, 65535), "A port that the lab connects to."),
        Key("to", _PEER, "Where that port is: host, guest, or an address."),
        Key("says", Text(), "A regular expression for the first bytes from there."),
    ),
)
_TOOLS: Shape[Archive] = Record(
    Archive,
    "The archive that the build's own tools come from: of another mirror or distribution.",
    (
        Key("suites", Many(_WORD, least=1), "Suites, all of them used.", required=True),
        Key("components", Many(_WORD, least=1), "The archive's components."),
        Key("mirror", OneOrMany(Text()), "Its address, or several; without it, the machine's own."),
        Key("trusted", Flag(), "true: an unsigned archive is accepted."),
        Key("check-valid-until", Flag(), "false: a Release past its date is accepted."),
        Key("signed-by", Text("a file's name"), "OpenPGP certificates, relative to this document."),
    ),
)
_ARCHIVE: Record[Archive] = Record(
    Archive,
    "The Debian archive that packages come from.",
    (
        Key("suites", Alterable(Many(_WORD, least=1)), "Suites, all of them used."),
        Key(
            "components",
            Alterable(Many(_WORD, least=1)),
            "The archive's components: main, non-free-firmware.",
        ),
        Key(
            "mirror",
            Alterable(OneOrMany(Text())),
            "The mirror's address, or several, the best one first; without it, the machine's own.",
        ),
        Key("trusted", Flag(), "true: an unsigned archive is accepted."),
        Key(
            "check-valid-until",
            scalars.Templated(Flag()),
            "false: a Release past its date is accepted.",
        ),
        Key("signed-by", Text("a file's name"), "OpenPGP certificates, relative to this document."),
        Key(
            "tools",
            Either(Many(_WORD), _TOOLS),
            "Suites of the build's own tools, or the archive that they come from; without it, the "
            "host's.",
        ),
        Key(
            "root",
            Text("a path"),
            "A root that files come from instead of packages, relative to this document: a "
            "directory, a tar, a container image or a disk image.",
        ),
        Key("owners", Flag(), "false: the root's own package database is not read."),
        Key("priority", Whole(1, 1000), "Against other archives; the higher one gives a package."),
        Key(
            "snapshot",
            Text("an address", "(https?://|file:///|/).+", "write the address of a tree"),
            "Debian's tree at one moment; no other mirror is then asked.",
        ),
    ),
    apart=(("mirror", "snapshot"),),
)
_MORE: Shape[ArchiveWish] = Record(
    ArchiveWish,
    "An archive beside Debian's own.",
    (
        Key(
            "name",
            Text("an archive's name", "[a-z][a-z0-9.-]*", "use lower case, digits, - and ."),
            "Its name, which the lock keeps.",
            required=True,
        ),
        Key("suites", Many(_WORD, least=1), "Suites, all of them used."),
        Key("components", Many(_WORD, least=1), "The archive's components."),
        Key("mirror", OneOrMany(Text()), "Its address, or several; without it, Debian's mirror."),
        Key("trusted", Flag(), "true: an unsigned archive is accepted."),
        Key("check-valid-until", Flag(), "false: a Release past its date is accepted."),
        Key("signed-by", _LOCAL, "OpenPGP certificates, relative to this document."),
        Key("priority", Whole(1, 1000), "Against other archives; the higher one gives a package."),
        Key("directory", _LOCAL, "A directory of .debs, relative to this document."),
    ),
    one_of=("suites", "directory"),
    apart=(("mirror", "directory"), ("signed-by", "directory")),
)
_PIN: Shape[PinWish] = Record(
    PinWish,
    "Which versions of a package may be taken.",
    (
        Key("version", Text(), "A version, or a glob of versions: 1:1.37.*"),
        Key("suite", _WORD, "The suite, or the archive's name for a directory of .debs."),
    ),
)
_KERNEL: Shape[KernelPart] = Record(
    KernelPart,
    "The kernel.",
    (
        Key("package", _PACKAGE, "The package that holds the kernel; a metapackage will do."),
        Key("cmdline", Alterable(Many(cmdline.Word())), "Words of the kernel's command line."),
        Key(
            "modules",
            Alterable(_MODULES),
            "Modules beside those of components: by name, alias (fs-ext4, pci:v00001AF4d*), path "
            "or glob.",
        ),
        Key(
            "hardware",
            _LOCAL,
            "A list of modaliases that minbuild hardware wrote, relative to this document: the "
            "drivers of that machine.",
        ),
        Key("use", Alterable(Many(_REFERENCE)), "Components of this section."),
    ),
)
_PARTITION: Shape[Partition] = Record(
    Partition,
    "One partition.",
    (
        Key("holds", Choice("partition's content", Holds), "What it holds.", required=True),
        Key(
            "name",
            Text("a name", "[ -~]{1,36}", "write at most 36 ASCII letters"),
            "Its name in the partition table.",
        ),
        Key(
            "label",
            Text("a label", "[A-Za-z0-9_.-]{1,16}", "write at most 16 of A-Z a-z 0-9 _ . -"),
            "The file system's label.",
        ),
        Key("size", Size(), "Its size; the ESP's is what it needs, one other may take the rest."),
    ),
)
_DISK: Shape[DiskWish] = Record(
    DiskWish,
    "How the disk is laid out.",
    (
        Key("size", Size(), "The whole disk; without it, as small as can be."),
        Key(
            "partitions",
            Alterable(Many(_PARTITION, least=1)),
            "Partitions in order, one of them the ESP.",
        ),
    ),
)


_SIGN: Shape[SignPart] = Record(
    SignPart,
    "What to sign with.",
    (
        Key(
            "key",
            _LOCAL,
            "The private key: PEM, relative to this document, or the pkcs11: URI of one in a token.",
            required=True,
        ),
        Key("certificate", _LOCAL, "Its certificate, PEM.", required=True),
        Key("module", _LOCAL, "The token's PKCS#11 module, a shared library of this machine."),
    ),
)


def _section(section: Section) -> Key:
    use = Key("use", Alterable(Many(_REFERENCE)), "Components of this section.")
    about = f"The section {section.value}."
    return Key(section.value, Record(SectionPart, about, (use,)), about)


EXTENDS = Many(_OTHER)
MATRIX: Shape[MatrixPart] = Record(
    MatrixPart,
    "Axes whose every combination is a build of its own.",
    (
        Key("suite", Many(_WORD, least=1), "Each with its -updates and -security."),
        Key("arch", Many(_ARCH, least=1), "Debian's names."),
        Key(
            "components",
            Table(_SET, Many(_WHOLE_REFERENCE), ComponentSet),
            "Name: components (as section/name) that this value adds.",
        ),
    ),
)
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
        Key("arch", _ARCH, "Debian's name of the architecture."),
        Key(
            "archive",
            Either(Choice("archive", ArchiveWord), _ARCHIVE),
            "Where packages come from; root: from a root that is given when it is used.",
        ),
        Key("archives", Alterable(Many(_MORE)), "Archives beside it."),
        Key("pins", Table(_PACKAGE, _PIN, PinEntry), "Package: which versions may be taken."),
        Key("vars", _VARS, "Variables for every string and template."),
        Key("kernel", _KERNEL, "The kernel, and components of its section."),
        *(_section(section) for section in Section if section is not Section.KERNEL),
        Key("keep", Alterable(Many(_KEEP)), "Roots beside the components'."),
        Key(
            "drop", Alterable(Many(_DROP)), "Files that a need would bring in, left out knowingly."
        ),
        Key("allow-missing", Alterable(Many(_ALLOW)), "Needs that may stay unmet."),
        Key(
            "dlopen",
            Either(Named(_PRIORITY), Table(_ROOT_PATH, _PRIORITY, DlopenRule)),
            "The least priority of libraries that programs may open at run time; for all, or by "
            "glob of the files that open them.",
        ),
        Key(
            "paths",
            Table(_ROOT_PATH, Choice("word", PathWord), PathRule),
            "Path or glob of files: follow, and the paths that stand in their texts come along.",
        ),
        Key("files", _FILES, "Files that minbuild makes; they replace those of components."),
        Key("data", _DATA, "Rule: what is asked of it. terminfo: [linux]."),
        ELEMENTS,
        Key(
            "image",
            Record(
                ImagePart,
                "What is written.",
                (
                    Key("formats", Alterable(Many(FORMAT, least=1)), "Outputs."),
                    Key("compression", Choice("compression", Compression), "Of the initramfs."),
                    Key("disk", _DISK, "The layout of the disk and of what is made from it."),
                    Key("sign", _SIGN, "Signs the one file that boots, for UEFI Secure Boot."),
                ),
            ),
            "What is written.",
        ),
        Key("matrix", MATRIX, "Builds of this manifest in every combination."),
        Key(
            "budget",
            PART,
            "Limits; a build over one of them fails.",
        ),
    ),
    slips=slips.KEYS,
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
        Key(
            "modules",
            _MODULES,
            "Kernel modules, or what is built in: by name, alias, path or glob.",
        ),
        Key("firmware", Many(Named(_WORD)), "Firmware files or globs, below /usr/lib/firmware."),
        Key("kconfig", Many(Named(_OPTION)), "Kernel options that must be y or m."),
        Key("cmdline", Many(cmdline.Word()), "Words of the kernel's command line."),
        Key(
            "module-index",
            Many(Named(Choice("file of the module index", IndexFile))),
            "Files of the module index that this component reads.",
        ),
        Key("allow-missing", Many(_ALLOW), "Needs that may stay unmet."),
        Key("data", _DATA, "Rule: what is asked of it. terminfo: [linux]."),
        Key("probe", Either(Named(_WORD), _PROBE), "What the lab checks on a booted host."),
        Key("probes", Many(_PROBE), "More of them, each with a name of its own."),
        Key("bios", Flag(only_true=True), "true: a BIOS starts the disk too; amd64 only."),
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
