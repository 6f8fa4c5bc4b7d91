"""The format: every key of a manifest, a component and a tool, with its shape and its meaning."""

from enum import StrEnum

from minbuild.manifest import kernel_cmdline, names
from minbuild.manifest.budget_document import MANIFEST_BUDGET
from minbuild.manifest.document.containers import (
    AlterableList,
    Key,
    ListOf,
    MapOf,
    OneOrListOf,
    Record,
    TextOrMapping,
)
from minbuild.manifest.document.scalars import (
    Boolean,
    FileMode,
    Integer,
    Keyword,
    Located,
    Text,
    UnrenderedText,
)
from minbuild.manifest.document.schema import Json, ValueShape
from minbuild.manifest.image_settings import (
    Compression,
)
from minbuild.manifest.model import (
    ArchiveKeyword,
    DlopenPolicy,
    PackagePaths,
    PathAction,
    PathRule,
    Priority,
    RuleRequest,
    Section,
    VariableValue,
    Waiver,
)
from minbuild.manifest.names import (
    ABSOLUTE_PATH,
    APPLET_NAME,
    COMPONENT_REFERENCE,
    FULL_COMPONENT_REFERENCE,
    KERNEL_OPTION,
    LOCAL_FILE,
    MANIFEST_FILE,
    NAME_PATTERN,
    PACKAGE_NAME,
    SET_NAME,
    VARIABLE_NAME,
    WORD,
)
from minbuild.manifest.part_grammar import (
    ARCHIVE,
    DISK,
    ELEMENTS_KEY,
    EXTRA_ARCHIVE,
    IMAGE_FORMAT,
    PIN,
    SIGNING,
)
from minbuild.manifest.raw import (
    Arch,
    ComponentSet,
    IndexFile,
    RawComponent,
    RawFile,
    RawFileEntry,
    RawImage,
    RawKeep,
    RawKernel,
    RawManifest,
    RawMatrix,
    RawPinEntry,
    RawProbe,
    RawSection,
    RawTool,
    VariableDefinition,
)
from minbuild.manifest.rule_files import RULE_FILE, TOPIC_PATTERN
from minbuild.manifest.variables import VariableShape

_MODULES = ListOf(
    Located(Text("a module's name", "[^ \\t\\n\\x00]+", "write a name, an alias, a path or a glob"))
)
_ARCH = Keyword("architecture", Arch, names.ARCHITECTURE_SYNONYMS)
_PRIORITY = Keyword("priority", Priority)
_TOPIC_NAME = Text(
    "the name of a file of rules", TOPIC_PATTERN, "use lower case, digits and -", False
)
_RULE_REQUESTS = MapOf(_TOPIC_NAME, ListOf(Located(WORD), min_items=1), RuleRequest)
_PATH_LIST = ListOf(ABSOLUTE_PATH, min_items=1)

FILE: ValueShape[RawFile] = Record(
    RawFile,
    "A file, link or directory that minbuild makes.",
    (
        Key("content", UnrenderedText(), "The file's text, rendered."),
        Key(
            "template",
            OneOrListOf(LOCAL_FILE),
            "A jinja2 template, relative to this document; of several, one file in their order.",
        ),
        Key("source", LOCAL_FILE, "A local file, copied as it is, relative to this document."),
        Key("link", Text("a link's text", "[^\\x00]+"), "The text of a symbolic link."),
        Key("directory", Boolean(only_true=True), "true: an empty directory."),
        Key("mode", FileMode(), 'Octal, in quotes; "0644" by default, "0755" for a directory.'),
        Key("uid", Integer(), "The owner's number."),
        Key("gid", Integer(), "The group's number."),
    ),
    one_of=("content", "template", "source", "link", "directory"),
    exclusive=(("link", "mode"),),
)
_FILES = MapOf(ABSOLUTE_PATH, FILE, RawFileEntry)
_VARIABLE_VALUE: ValueShape[VariableValue] = VariableShape()
_VARIABLES: ValueShape[tuple[VariableDefinition, ...]] = MapOf(
    VARIABLE_NAME, _VARIABLE_VALUE, VariableDefinition, placeholder=""
)
_PACKAGES = MapOf(PACKAGE_NAME, _PATH_LIST, PackagePaths)
_KEEP: ValueShape[RawKeep] = Record(
    RawKeep,
    "Paths or globs of a package.",
    (
        Key(
            "package", PACKAGE_NAME, "The package that holds them; not needed in an installed root."
        ),
        Key("paths", _PATH_LIST, "Absolute paths or globs.", required=True),
    ),
)
_DROP: ValueShape[Waiver] = Record(
    Waiver,
    "A file that is left out knowingly.",
    (
        Key("path", ABSOLUTE_PATH, "An absolute path or glob.", required=True),
        Key("because", Text(), "The reason, for people.", required=True),
    ),
)
_ALLOW: ValueShape[Waiver] = Record(
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
_PROBE: ValueShape[RawProbe] = Record(
    RawProbe,
    "What the lab checks on a booted host.",
    (
        Key("name", WORD, "The probe's name; without it, the component's."),
        Key("console", Text(), "A regular expression that a line on the console must match."),
        Key("limit", Integer(1, 3600), "Seconds since power-on, under emulation."),
        Key("means", Text(), "What a failure means, for people."),
        Key("lease", Boolean(only_true=True), "The lab's DHCP server granted the host an address."),
        Key("lookup", WORD, "A name that the lab's DNS server was asked for."),
        Key("tcp", Integer(1, 65535), "A port that the lab connects to."),
        Key("to", _PEER, "Where that port is: host, guest, or an address."),
        Key("says", Text(), "A regular expression for the first bytes from there."),
    ),
)
_KERNEL: ValueShape[RawKernel] = Record(
    RawKernel,
    "The kernel.",
    (
        Key("package", PACKAGE_NAME, "The package that holds the kernel; a metapackage will do."),
        Key(
            "cmdline",
            AlterableList(ListOf(kernel_cmdline.CmdlineWord())),
            "Words of the kernel's command line.",
        ),
        Key(
            "modules",
            AlterableList(_MODULES),
            "Modules beside those of components: by name, alias (fs-ext4, pci:v00001AF4d*), path "
            "or glob.",
        ),
        Key(
            "hardware",
            LOCAL_FILE,
            "A list of modaliases that minbuild hardware wrote, relative to this document: the "
            "drivers of that machine.",
        ),
        Key("use", AlterableList(ListOf(COMPONENT_REFERENCE)), "Components of this section."),
    ),
)


def _create_section_key(section: Section) -> Key:
    use = Key("use", AlterableList(ListOf(COMPONENT_REFERENCE)), "Components of this section.")
    description = f"The section {section.value}."
    return Key(section.value, Record(RawSection, description, (use,)), description)


EXTENDS = ListOf(MANIFEST_FILE)
MATRIX: ValueShape[RawMatrix] = Record(
    RawMatrix,
    "Axes whose every combination is a build of its own.",
    (
        Key("suite", ListOf(WORD, min_items=1), "Each with its -updates and -security."),
        Key("arch", ListOf(_ARCH, min_items=1), "Debian's names."),
        Key(
            "components",
            MapOf(SET_NAME, ListOf(FULL_COMPONENT_REFERENCE), ComponentSet),
            "Name: components (as section/name) that this value adds.",
        ),
    ),
)
MANIFEST: Record[RawManifest] = Record(
    RawManifest,
    "A host.",
    (
        Key("minbuild", Integer(1, 1), "The version of this format: 1.", required=True),
        Key(
            "name",
            Text("a manifest's name", NAME_PATTERN, "use lower case, digits and -", template=False),
            "The host's name, that of its output; without it, the file's.",
        ),
        Key("summary", Text(), "One line, for people."),
        Key("extends", EXTENDS, "Manifests that this one is merged onto, in order."),
        Key("arch", _ARCH, "Debian's name of the architecture."),
        Key(
            "archive",
            TextOrMapping(Keyword("archive", ArchiveKeyword), ARCHIVE),
            "Where packages come from; root: from a root that is given when it is used.",
        ),
        Key("archives", AlterableList(ListOf(EXTRA_ARCHIVE)), "Archives beside it."),
        Key("pins", MapOf(PACKAGE_NAME, PIN, RawPinEntry), "Package: which versions may be taken."),
        Key("vars", _VARIABLES, "Variables for every string and template."),
        Key("kernel", _KERNEL, "The kernel, and components of its section."),
        *(_create_section_key(section) for section in Section if section is not Section.KERNEL),
        Key("keep", AlterableList(ListOf(_KEEP)), "Roots beside the components'."),
        Key(
            "drop",
            AlterableList(ListOf(_DROP)),
            "Files that a need would bring in, left out knowingly.",
        ),
        Key("allow-missing", AlterableList(ListOf(_ALLOW)), "Needs that may stay unmet."),
        Key(
            "dlopen",
            TextOrMapping(Located(_PRIORITY), MapOf(ABSOLUTE_PATH, _PRIORITY, DlopenPolicy)),
            "The least priority of libraries that programs may open at run time; for all, or by "
            "glob of the files that open them.",
        ),
        Key(
            "paths",
            MapOf(ABSOLUTE_PATH, Keyword("word", PathAction), PathRule),
            "Path or glob of files: follow, and the paths that stand in their texts come along.",
        ),
        Key("files", _FILES, "Files that minbuild makes; they replace those of components."),
        Key("data", _RULE_REQUESTS, "Rule: what is asked of it. terminfo: [linux]."),
        ELEMENTS_KEY,
        Key(
            "image",
            Record(
                RawImage,
                "What is written.",
                (
                    Key("formats", AlterableList(ListOf(IMAGE_FORMAT, min_items=1)), "Outputs."),
                    Key("compression", Keyword("compression", Compression), "Of the initramfs."),
                    Key("disk", DISK, "The layout of the disk and of what is made from it."),
                    Key("sign", SIGNING, "Signs the one file that boots, for UEFI Secure Boot."),
                ),
            ),
            "What is written.",
        ),
        Key("matrix", MATRIX, "Builds of this manifest in every combination."),
        Key(
            "budget",
            MANIFEST_BUDGET,
            "Limits; a build over one of them fails.",
        ),
    ),
    synonyms=names.KEY_SYNONYMS,
)

COMPONENT: Record[RawComponent] = Record(
    RawComponent,
    "A component: SECTION/NAME.yaml.",
    (
        Key("summary", Text(), "One line, for people.", required=True),
        Key("needs", ListOf(COMPONENT_REFERENCE), "Components that come with this one, before it."),
        Key("vars", _VARIABLES, "Variables and their defaults."),
        Key("packages", _PACKAGES, "Package: its paths or globs that are roots."),
        Key("applets", ListOf(Located(APPLET_NAME)), "BusyBox applets: links in /usr/bin."),
        Key("files", _FILES, "Files that minbuild makes."),
        Key(
            "modules",
            _MODULES,
            "Kernel modules, or what is built in: by name, alias, path or glob.",
        ),
        Key("firmware", ListOf(Located(WORD)), "Firmware files or globs, below /usr/lib/firmware."),
        Key("kconfig", ListOf(Located(KERNEL_OPTION)), "Kernel options that must be y or m."),
        Key("cmdline", ListOf(kernel_cmdline.CmdlineWord()), "Words of the kernel's command line."),
        Key(
            "module-index",
            ListOf(Located(Keyword("file of the module index", IndexFile))),
            "Files of the module index that this component reads.",
        ),
        Key("allow-missing", ListOf(_ALLOW), "Needs that may stay unmet."),
        Key("data", _RULE_REQUESTS, "Rule: what is asked of it. terminfo: [linux]."),
        Key("probe", TextOrMapping(Located(WORD), _PROBE), "What the lab checks on a booted host."),
        Key("probes", ListOf(_PROBE), "More of them, each with a name of its own."),
        Key("bios", Boolean(only_true=True), "true: a BIOS starts the disk too; amd64 only."),
    ),
)

TOOL: Record[RawTool] = Record(
    RawTool,
    "A program of the toolbox: NAME.yaml.",
    (
        Key("summary", Text(), "One line, for people.", required=True),
        Key("run", ABSOLUTE_PATH, "The program's path in its package.", required=True),
        Key("packages", _PACKAGES, "Package: its paths or globs that are roots.", required=True),
        Key("lab", Boolean(), "true: only the lab needs it."),
    ),
)


class DocumentKind(StrEnum):
    """What a YAML file of minbuild describes."""

    MANIFEST = "manifest"
    COMPONENT = "component"
    TOOL = "tool"
    RULES = "rules"


def build_json_schema(kind: DocumentKind = DocumentKind.MANIFEST) -> Json:
    """The JSON Schema of one kind of document. Source: JSON Schema 2020-12."""
    shapes: dict[DocumentKind, Json] = {
        DocumentKind.MANIFEST: MANIFEST.schema(),
        DocumentKind.COMPONENT: COMPONENT.schema(),
        DocumentKind.TOOL: TOOL.schema(),
        DocumentKind.RULES: RULE_FILE.schema(),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"minbuild {kind}",
        **shapes[kind],
    }
