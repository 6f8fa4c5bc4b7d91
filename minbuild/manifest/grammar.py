"""Grammar of manifests, components and tools: every key with its shape and description."""

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
    Json,
    Keyword,
    Located,
    Text,
    UnrenderedText,
    ValueShape,
)
from minbuild.manifest.image_settings import (
    Compression,
)
from minbuild.manifest.kernel_grammar import KERNEL, MODULES
from minbuild.manifest.model import (
    ArchiveKeyword,
    DlopenPolicy,
    Location,
    PackagePaths,
    PathAction,
    PathRule,
    Priority,
    RuleRequest,
    Section,
    VariableValue,
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
    OPTION_SETTING,
    PACKAGE_NAME,
    SET_NAME,
    VARIABLE_NAME,
    WORD,
)
from minbuild.manifest.part_grammar import (
    ALLOW,
    ARCHIVE,
    DISK,
    DROP,
    ELEMENTS_KEY,
    EXTRA_ARCHIVE,
    IMAGE_FORMAT,
    KEEP,
    PATH_LIST,
    PIN,
    PROBE,
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
    RawManifest,
    RawMatrix,
    RawPinEntry,
    RawSection,
    RawTool,
    VariableDefinition,
)
from minbuild.manifest.rule_files import RULE_FILE, TOPIC_PATTERN
from minbuild.manifest.variable_types import VariableDeclaration, make_declaration_shape
from minbuild.manifest.variables import VariableShape

_ARCH = Keyword("architecture", Arch, names.ARCHITECTURE_SYNONYMS)
_PRIORITY = Keyword("priority", Priority)
_TOPIC_NAME = Text(
    "the name of a file of rules", TOPIC_PATTERN, "use lower case, digits and -", False
)
_RULE_REQUESTS = MapOf(_TOPIC_NAME, ListOf(Located(WORD), min_items=1), RuleRequest)

FILE: ValueShape[RawFile] = Record(
    RawFile,
    "A file, link or directory of the image.",
    (
        Key("content", UnrenderedText(), "The text of the file, rendered as a template."),
        Key(
            "template",
            OneOrListOf(LOCAL_FILE),
            "A Jinja2 template, relative to this document, or several that are joined.",
        ),
        Key("source", LOCAL_FILE, "A local file, relative to this document, copied unchanged."),
        Key("link", Text("a link's text", "[^\\x00]+"), "The target of a symbolic link."),
        Key("directory", Boolean(only_true=True), "true: an empty directory."),
        Key("mode", FileMode(), 'Octal mode in quotes; "0644" by default, "0755" for a directory.'),
        Key("uid", Integer(), "User ID of the owner."),
        Key("gid", Integer(), "ID of the group."),
    ),
    one_of=("content", "template", "source", "link", "directory"),
    exclusive=(("link", "mode"),),
)
_FILES = MapOf(ABSOLUTE_PATH, FILE, RawFileEntry)
_VARIABLE_VALUE: ValueShape[VariableValue] = VariableShape()
_VARIABLES: ValueShape[tuple[VariableDefinition, ...]] = MapOf(
    VARIABLE_NAME, _VARIABLE_VALUE, VariableDefinition, placeholder=""
)


def _define_variable(
    name: str, value: VariableValue | VariableDeclaration, where: Location
) -> VariableDefinition:
    """A variable of a component: a default alone, or a declaration."""
    if isinstance(value, VariableDeclaration):
        return VariableDefinition(name, value.default, where, value)
    return VariableDefinition(name, value, where)


_DECLARED: ValueShape[VariableValue | VariableDeclaration] = TextOrMapping(
    _VARIABLE_VALUE, make_declaration_shape(_VARIABLE_VALUE)
)
_DECLARATIONS: ValueShape[tuple[VariableDefinition, ...]] = MapOf(
    VARIABLE_NAME,
    _DECLARED,
    _define_variable,
    placeholder="",
)
_PACKAGES = MapOf(PACKAGE_NAME, PATH_LIST, PackagePaths)


def _create_section_key(section: Section) -> Key:
    use = Key("use", AlterableList(ListOf(COMPONENT_REFERENCE)), "Components of this section.")
    description = f"Components of the section {section.value}."
    return Key(section.value, Record(RawSection, description, (use,)), description)


EXTENDS = ListOf(MANIFEST_FILE)
MATRIX: ValueShape[RawMatrix] = Record(
    RawMatrix,
    "Suites, architectures and component sets whose combinations are separate builds.",
    (
        Key("suite", ListOf(WORD, min_items=1), "Suites, each with its -updates and -security."),
        Key("arch", ListOf(_ARCH, min_items=1), "Architectures, by Debian's name."),
        Key(
            "components",
            MapOf(SET_NAME, ListOf(FULL_COMPONENT_REFERENCE), ComponentSet),
            "Name of a set: components (section/name) that it adds.",
        ),
    ),
)
MANIFEST: Record[RawManifest] = Record(
    RawManifest,
    "A manifest: the description of one host.",
    (
        Key("minbuild", Integer(1, 1), "Version of this format: 1.", required=True),
        Key(
            "name",
            Text("a manifest's name", NAME_PATTERN, "use lower case, digits and -", template=False),
            "Name of the host and its output directory; by default the name of the file.",
        ),
        Key("summary", Text(), "One line, for people."),
        Key("extends", EXTENDS, "Manifests to start from; this one is merged into them, in order."),
        Key("arch", _ARCH, "Architecture, by Debian's name."),
        Key(
            "archive",
            TextOrMapping(Keyword("archive", ArchiveKeyword), ARCHIVE),
            "Archive of the packages; `root`: an installed root that the option --root gives.",
        ),
        Key("archives", AlterableList(ListOf(EXTRA_ARCHIVE)), "Additional archives."),
        Key(
            "pins", MapOf(PACKAGE_NAME, PIN, RawPinEntry), "Package: its allowed version or suite."
        ),
        Key("vars", _VARIABLES, "Variables for strings and templates."),
        Key("kernel", KERNEL, "The kernel, and components of the section kernel."),
        *(_create_section_key(section) for section in Section if section is not Section.KERNEL),
        Key(
            "keep",
            AlterableList(ListOf(KEEP)),
            "Files to include besides those of components, with all that they need.",
        ),
        Key(
            "drop",
            AlterableList(ListOf(DROP)),
            "Needed files to omit, each with a reason.",
        ),
        Key(
            "allow-missing",
            AlterableList(ListOf(ALLOW)),
            "Needs that may stay unmet, each with a reason.",
        ),
        Key(
            "dlopen",
            TextOrMapping(Located(_PRIORITY), MapOf(ABSOLUTE_PATH, _PRIORITY, DlopenPolicy)),
            "Lowest priority of libraries to include that programs can open at run time; for all "
            "files, or by glob of the files that open them.",
        ),
        Key(
            "paths",
            MapOf(ABSOLUTE_PATH, Keyword("word", PathAction), PathRule),
            "Path or glob: `follow` includes the paths in the text of these files, `list` lists them.",
        ),
        Key("files", _FILES, "Files to create; they replace those of components."),
        Key(
            "data",
            _RULE_REQUESTS,
            "Data rule: values that it needs to provide, such as terminfo: [linux].",
        ),
        ELEMENTS_KEY,
        Key(
            "image",
            Record(
                RawImage,
                "Formats, compression, disk layout and signature of the image.",
                (
                    Key(
                        "formats",
                        AlterableList(ListOf(IMAGE_FORMAT, min_items=1)),
                        "Image formats to write.",
                    ),
                    Key(
                        "compression",
                        Keyword("compression", Compression),
                        "Compression of the initramfs.",
                    ),
                    Key("disk", DISK, "Layout of the disk, for all disk formats."),
                    Key(
                        "sign",
                        SIGNING,
                        "Key and certificate that sign the UKI for UEFI Secure Boot.",
                    ),
                ),
            ),
            "Formats, compression, disk layout and signature of the image.",
        ),
        Key("matrix", MATRIX, "Variants of this manifest, one build for each combination."),
        Key(
            "budget",
            MANIFEST_BUDGET,
            "Limits; a build that exceeds one fails.",
        ),
    ),
    synonyms=names.KEY_SYNONYMS,
)

COMPONENT: Record[RawComponent] = Record(
    RawComponent,
    "A component, in the file SECTION/NAME.yaml.",
    (
        Key("summary", Text(), "One line, for people.", required=True),
        Key(
            "needs",
            ListOf(COMPONENT_REFERENCE),
            "Components that this one requires; they come before it.",
        ),
        Key("vars", _DECLARATIONS, "Variables: a default, or a declaration with a type."),
        Key(
            "packages",
            _PACKAGES,
            "Package: paths or globs of its files to include, with all that they need.",
        ),
        Key("applets", ListOf(Located(APPLET_NAME)), "BusyBox applets: links in /usr/bin."),
        Key("files", _FILES, "Files to create."),
        Key(
            "modules",
            MODULES,
            "Kernel modules, loadable or built in: by name, alias, path or glob.",
        ),
        Key("firmware", ListOf(Located(WORD)), "Firmware files or globs, below /usr/lib/firmware."),
        Key("kconfig", ListOf(Located(KERNEL_OPTION)), "Kernel options that must be y or m."),
        Key(
            "kernel-options",
            ListOf(Located(OPTION_SETTING)),
            "Options of a kernel that is built for the host, besides `kconfig` and those of `modules`: "
            "NAME, NAME=VALUE, or a glob of names.",
        ),
        Key("cmdline", ListOf(kernel_cmdline.CmdlineWord()), "Words of the kernel command line."),
        Key(
            "xen-cmdline",
            ListOf(kernel_cmdline.CmdlineWord()),
            "Words of Xen's own command line, in a component that brings /boot/xen-*.efi.",
        ),
        Key(
            "module-index",
            ListOf(Located(Keyword("file of the module index", IndexFile))),
            "Files of the kernel module index that this component needs at run time.",
        ),
        Key("allow-missing", ListOf(ALLOW), "Needs that may stay unmet, each with a reason."),
        Key(
            "data",
            _RULE_REQUESTS,
            "Data rule: values that it needs to provide, such as terminfo: [linux].",
        ),
        Key("probe", TextOrMapping(Located(WORD), PROBE), "A check of the lab on a booted host."),
        Key("probes", ListOf(PROBE), "More probes, each with its own name."),
        Key("bios", Boolean(only_true=True), "true: the disk boots by BIOS, too; amd64 only."),
        Key(
            "loader",
            Boolean(only_true=True),
            "true: the disk starts systemd-boot, which starts one of several versions of the host; "
            "the variable version is this one's.",
        ),
        Key(
            "microcode",
            Boolean(only_true=True),
            "true: its firmware is microcode, which the kernel gets before the initramfs.",
        ),
    ),
)

TOOL: Record[RawTool] = Record(
    RawTool,
    "A program of the toolbox, in the file NAME.yaml.",
    (
        Key("summary", Text(), "One line, for people.", required=True),
        Key("run", ABSOLUTE_PATH, "Path of the program in its package.", required=True),
        Key(
            "packages",
            _PACKAGES,
            "Package: paths or globs of its files to include, with all that they need.",
            required=True,
        ),
        Key("lab", Boolean(), "true: only the lab needs it."),
    ),
)


class DocumentKind(StrEnum):
    """Kinds of YAML files, each with a JSON Schema."""

    MANIFEST = "manifest"
    COMPONENT = "component"
    TOOL = "tool"
    RULES = "rules"


def build_json_schema(kind: DocumentKind = DocumentKind.MANIFEST) -> Json:
    """Build the JSON Schema of a kind of document, in the form that SchemaStore takes.

    Source: JSON Schema draft-07; SchemaStore, CONTRIBUTING.md, Best practices.
    """
    shapes: dict[DocumentKind, Json] = {
        DocumentKind.MANIFEST: MANIFEST.schema(),
        DocumentKind.COMPONENT: COMPONENT.schema(),
        DocumentKind.TOOL: TOOL.schema(),
        DocumentKind.RULES: RULE_FILE.schema(),
    }
    suffix = "" if kind is DocumentKind.MANIFEST else f"-{kind}"
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": f"https://www.schemastore.org/minbuild{suffix}.json",
        "title": f"minbuild {kind}",
        **shapes[kind],
    }
