"""Grammar of the parts of a manifest: archives, pins, image formats, disk and signing key."""

from minbuild.manifest.document import scalars
from minbuild.manifest.document.containers import (
    AlterableList,
    Key,
    ListOf,
    OneOrListOf,
    Record,
    TextOrMapping,
)
from minbuild.manifest.document.scalars import Boolean, Integer, Keyword, Located, Size, Text
from minbuild.manifest.document.schema import ValueShape
from minbuild.manifest.image_settings import (
    DibFormat,
    DibLayout,
    DibSettings,
    DiskSettings,
    ImageFormat,
    PartitionSettings,
    PartitionType,
)
from minbuild.manifest.model import Archive
from minbuild.manifest.names import LOCAL_FILE, WORD
from minbuild.manifest.raw import RawArchive, RawDib, RawPin, RawSigning

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
