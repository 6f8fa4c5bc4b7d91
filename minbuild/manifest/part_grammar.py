"""Grammar of parts of a manifest: archives, pins, images, kept and dropped files, probes."""

from minbuild.manifest.document import scalars
from minbuild.manifest.document.containers import (
    AlterableList,
    Key,
    ListOf,
    OneOrListOf,
    Record,
    TextOrMapping,
)
from minbuild.manifest.document.scalars import (
    Boolean,
    Integer,
    Keyword,
    Located,
    Size,
    Text,
    ValueShape,
)
from minbuild.manifest.image_settings import (
    DibFormat,
    DibLayout,
    DibSettings,
    DiskSettings,
    ImageFormat,
    PartitionSettings,
    PartitionType,
)
from minbuild.manifest.model import Archive, Waiver
from minbuild.manifest.names import ABSOLUTE_PATH, LOCAL_FILE, PACKAGE_NAME, WORD
from minbuild.manifest.raw import RawArchive, RawDib, RawKeep, RawPin, RawProbe, RawSigning

_ELEMENT = Text("an element's name", "[A-Za-z0-9][A-Za-z0-9_.-]*", "write the name of an element")
ELEMENTS_KEY = Key(
    "elements",
    ListOf(Located(_ELEMENT), min_items=1),
    "Elements of diskimage-builder that run on the root of the host.",
)
IMAGE_FORMAT = TextOrMapping(
    Keyword("image format", ImageFormat),
    Record(
        RawDib,
        "Images by diskimage-builder.",
        (
            Key(
                "dib",
                Record(
                    DibSettings,
                    "One run of disk-image-create.",
                    (
                        Key("elements", ListOf(_ELEMENT), "Elements besides minbuild-root."),
                        Key(
                            "layout",
                            Keyword("layout", DibLayout),
                            "plain: one file system; gpt: ESP, root and data.",
                        ),
                        Key(
                            "formats",
                            ListOf(Keyword("format", DibFormat), min_items=1),
                            "Output formats.",
                        ),
                    ),
                ),
                "One run of disk-image-create.",
                required=True,
            ),
        ),
    ),
)


TOOL_ARCHIVE: ValueShape[Archive] = Record(
    Archive,
    "A separate archive for the tools of the build.",
    (
        Key("suites", ListOf(WORD, min_items=1), "Suites; all of them are used.", required=True),
        Key("components", ListOf(WORD, min_items=1), "The archive's components."),
        Key(
            "mirror",
            OneOrListOf(Text()),
            "Address of the mirror, or several; by default the one of this machine.",
        ),
        Key("trusted", Boolean(), "true: an unsigned archive is accepted."),
        Key("check-valid-until", Boolean(), "false: an expired Release file is accepted."),
        Key("signed-by", Text("a file's name"), "OpenPGP certificates, relative to this document."),
    ),
)


ARCHIVE: Record[Archive] = Record(
    Archive,
    "The Debian archive that packages come from.",
    (
        Key("suites", AlterableList(ListOf(WORD, min_items=1)), "Suites; all of them are used."),
        Key(
            "components",
            AlterableList(ListOf(WORD, min_items=1)),
            "The archive's components: main, non-free-firmware.",
        ),
        Key(
            "mirror",
            AlterableList(OneOrListOf(Text())),
            "Address of the mirror, or several, best first; by default the one of this machine.",
        ),
        Key("trusted", Boolean(), "true: an unsigned archive is accepted."),
        Key(
            "check-valid-until",
            scalars.TemplatedValue(Boolean()),
            "false: an expired Release file is accepted.",
        ),
        Key("signed-by", Text("a file's name"), "OpenPGP certificates, relative to this document."),
        Key(
            "tools",
            TextOrMapping(ListOf(WORD), TOOL_ARCHIVE),
            "Suites of the tools of the build, or a separate archive for them; by default the suites "
            "of the host.",
        ),
        Key(
            "root",
            Text("a path"),
            "An installed root to use instead of packages, relative to this document: a "
            "directory, a tar, a container image or a disk image.",
        ),
        Key("owners", Boolean(), "false: ignore the package database of the root."),
        Key(
            "priority",
            Integer(1, 1000),
            "Priority over other archives; the highest one with a package wins.",
        ),
        Key(
            "snapshot",
            Text("an address", "(https?://|file:///|/).+", "write the address of a tree"),
            "Address of a snapshot of Debian's archive; it replaces all other mirrors.",
        ),
    ),
    exclusive=(("mirror", "snapshot"),),
)


EXTRA_ARCHIVE: ValueShape[RawArchive] = Record(
    RawArchive,
    "An additional archive.",
    (
        Key(
            "name",
            Text("an archive's name", "[a-z][a-z0-9.-]*", "use lower case, digits, - and ."),
            "Name of the archive in the lock.",
            required=True,
        ),
        Key("suites", ListOf(WORD, min_items=1), "Suites; all of them are used."),
        Key("components", ListOf(WORD, min_items=1), "The archive's components."),
        Key(
            "mirror",
            OneOrListOf(Text()),
            "Address of the mirror, or several; by default Debian's mirror.",
        ),
        Key("trusted", Boolean(), "true: an unsigned archive is accepted."),
        Key("check-valid-until", Boolean(), "false: an expired Release file is accepted."),
        Key("signed-by", LOCAL_FILE, "OpenPGP certificates, relative to this document."),
        Key(
            "priority",
            Integer(1, 1000),
            "Priority over other archives; the highest one with a package wins.",
        ),
        Key("directory", LOCAL_FILE, "A directory of .debs, relative to this document."),
    ),
    one_of=("suites", "directory"),
    exclusive=(("mirror", "directory"), ("signed-by", "directory")),
)


PIN: ValueShape[RawPin] = Record(
    RawPin,
    "Allowed version or suite of a package.",
    (
        Key("version", Text(), "A version, or a glob of versions: 1:1.37.*."),
        Key("suite", WORD, "A suite; for a directory of .debs, the name of its archive."),
    ),
)


PARTITION: ValueShape[PartitionSettings] = Record(
    PartitionSettings,
    "A partition.",
    (
        Key(
            "type",
            Keyword("partition type", PartitionType),
            "Its content: the ESP, a file system, or zeros (empty).",
            required=True,
        ),
        Key(
            "name",
            Text("a name", "[ -~]{1,36}", "write at most 36 ASCII letters"),
            "Name in the partition table.",
        ),
        Key(
            "label",
            Text("a label", "[A-Za-z0-9_.-]{1,16}", "write at most 16 of A-Z a-z 0-9 _ . -"),
            "Label of the file system.",
        ),
        Key(
            "size",
            Size(),
            "Its size. Without it, the ESP is as small as possible, and one other partition takes "
            "the rest of the disk.",
        ),
    ),
    former_names={"holds": "type"},
)


DISK: ValueShape[DiskSettings] = Record(
    DiskSettings,
    "Layout of the disk.",
    (
        Key("size", Size(), "Size of the disk; by default as small as possible."),
        Key(
            "partitions",
            AlterableList(ListOf(PARTITION, min_items=1)),
            "Partitions in order; exactly one is the ESP.",
        ),
    ),
)


SIGNING: ValueShape[RawSigning] = Record(
    RawSigning,
    "Key and certificate.",
    (
        Key(
            "key",
            LOCAL_FILE,
            "Private key: a PEM file, relative to this document, or the pkcs11: URI of a key in a token.",
            required=True,
        ),
        Key(
            "certificate",
            LOCAL_FILE,
            "Certificate of the key: a PEM file, relative to this document.",
            required=True,
        ),
        Key("module", LOCAL_FILE, "PKCS#11 module of the token: a shared library on this machine."),
    ),
)


PATH_LIST = ListOf(ABSOLUTE_PATH, min_items=1)
KEEP: ValueShape[RawKeep] = Record(
    RawKeep,
    "Files of a package to include, with all that they need.",
    (
        Key("package", PACKAGE_NAME, "The package of the paths; not needed for an installed root."),
        Key("paths", PATH_LIST, "Absolute paths or globs.", required=True),
    ),
)
DROP: ValueShape[Waiver] = Record(
    Waiver,
    "A needed file to omit.",
    (
        Key("path", ABSOLUTE_PATH, "An absolute path or glob.", required=True),
        Key("because", Text(), "The reason, for people.", required=True),
    ),
)
ALLOW: ValueShape[Waiver] = Record(
    Waiver,
    "A need that may stay unmet.",
    (
        Key(
            "path",
            Text("a path or name", "[^\\x00]+"),
            "The missing path, soname, module or firmware file, or a glob.",
            required=True,
        ),
        Key("because", Text(), "The reason, for people.", required=True),
    ),
)
_PEER = Text("a place to connect to", "host|guest|[0-9.]+", "write host, guest, or an IPv4 address")
PROBE: ValueShape[RawProbe] = Record(
    RawProbe,
    "A check of the lab on a booted host.",
    (
        Key("name", WORD, "Name of the probe; by default the component's."),
        Key("console", Text(), "A regular expression that a line on the console must match."),
        Key(
            "limit",
            Integer(1, 3600),
            "Seconds since power-on under emulation until which it must succeed.",
        ),
        Key("means", Text(), "Meaning of a failure, for people."),
        Key(
            "lease",
            Boolean(only_true=True),
            "true: the host must get an address from the DHCP server of the lab.",
        ),
        Key("lookup", WORD, "A name that the host must query at the DNS server of the lab."),
        Key("tcp", Integer(1, 65535), "A port that the lab connects to."),
        Key("to", _PEER, "Address of the port: host, guest, or an IPv4 address."),
        Key("says", Text(), "A regular expression that the first bytes from the port must match."),
    ),
)
