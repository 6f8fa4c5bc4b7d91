"""The formats that a manifest can ask for: ours by name, diskimage-builder's by a mapping."""

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
    "diskimage-builder's elements, applied to the host's tree.",
)
IMAGE_FORMAT = TextOrMapping(
    Keyword("image format", ImageFormat),
    Record(
        RawDib,
        "Images that diskimage-builder makes.",
        (
            Key(
                "dib",
                Record(
                    DibSettings,
                    "One run of disk-image-create.",
                    (
                        Key("elements", ListOf(_ELEMENT), "Elements beside minbuild-root."),
                        Key("layout", Keyword("layout", DibLayout), "plain or gpt."),
                        Key(
                            "formats",
                            ListOf(Keyword("format", DibFormat), min_items=1),
                            "Its outputs.",
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
    "The archive that the build's own tools come from: of another mirror or distribution.",
    (
        Key("suites", ListOf(WORD, min_items=1), "Suites, all of them used.", required=True),
        Key("components", ListOf(WORD, min_items=1), "The archive's components."),
        Key(
            "mirror", OneOrListOf(Text()), "Its address, or several; without it, the machine's own."
        ),
        Key("trusted", Boolean(), "true: an unsigned archive is accepted."),
        Key("check-valid-until", Boolean(), "false: a Release past its date is accepted."),
        Key("signed-by", Text("a file's name"), "OpenPGP certificates, relative to this document."),
    ),
)


ARCHIVE: Record[Archive] = Record(
    Archive,
    "The Debian archive that packages come from.",
    (
        Key("suites", AlterableList(ListOf(WORD, min_items=1)), "Suites, all of them used."),
        Key(
            "components",
            AlterableList(ListOf(WORD, min_items=1)),
            "The archive's components: main, non-free-firmware.",
        ),
        Key(
            "mirror",
            AlterableList(OneOrListOf(Text())),
            "The mirror's address, or several, the best one first; without it, the machine's own.",
        ),
        Key("trusted", Boolean(), "true: an unsigned archive is accepted."),
        Key(
            "check-valid-until",
            scalars.TemplatedValue(Boolean()),
            "false: a Release past its date is accepted.",
        ),
        Key("signed-by", Text("a file's name"), "OpenPGP certificates, relative to this document."),
        Key(
            "tools",
            TextOrMapping(ListOf(WORD), TOOL_ARCHIVE),
            "Suites of the build's own tools, or the archive that they come from; without it, the "
            "host's.",
        ),
        Key(
            "root",
            Text("a path"),
            "A root that files come from instead of packages, relative to this document: a "
            "directory, a tar, a container image or a disk image.",
        ),
        Key("owners", Boolean(), "false: the root's own package database is not read."),
        Key(
            "priority", Integer(1, 1000), "Against other archives; the higher one gives a package."
        ),
        Key(
            "snapshot",
            Text("an address", "(https?://|file:///|/).+", "write the address of a tree"),
            "Debian's tree at one moment; no other mirror is then asked.",
        ),
    ),
    exclusive=(("mirror", "snapshot"),),
)


EXTRA_ARCHIVE: ValueShape[RawArchive] = Record(
    RawArchive,
    "An archive beside Debian's own.",
    (
        Key(
            "name",
            Text("an archive's name", "[a-z][a-z0-9.-]*", "use lower case, digits, - and ."),
            "Its name, which the lock keeps.",
            required=True,
        ),
        Key("suites", ListOf(WORD, min_items=1), "Suites, all of them used."),
        Key("components", ListOf(WORD, min_items=1), "The archive's components."),
        Key("mirror", OneOrListOf(Text()), "Its address, or several; without it, Debian's mirror."),
        Key("trusted", Boolean(), "true: an unsigned archive is accepted."),
        Key("check-valid-until", Boolean(), "false: a Release past its date is accepted."),
        Key("signed-by", LOCAL_FILE, "OpenPGP certificates, relative to this document."),
        Key(
            "priority", Integer(1, 1000), "Against other archives; the higher one gives a package."
        ),
        Key("directory", LOCAL_FILE, "A directory of .debs, relative to this document."),
    ),
    one_of=("suites", "directory"),
    exclusive=(("mirror", "directory"), ("signed-by", "directory")),
)


PIN: ValueShape[RawPin] = Record(
    RawPin,
    "Which versions of a package may be taken.",
    (
        Key("version", Text(), "A version, or a glob of versions: 1:1.37.*"),
        Key("suite", WORD, "The suite, or the archive's name for a directory of .debs."),
    ),
)


PARTITION: ValueShape[PartitionSettings] = Record(
    PartitionSettings,
    "One partition.",
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
            "Its name in the partition table.",
        ),
        Key(
            "label",
            Text("a label", "[A-Za-z0-9_.-]{1,16}", "write at most 16 of A-Z a-z 0-9 _ . -"),
            "The file system's label.",
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
    "How the disk is laid out.",
    (
        Key("size", Size(), "The whole disk; without it, as small as can be."),
        Key(
            "partitions",
            AlterableList(ListOf(PARTITION, min_items=1)),
            "Partitions in order, one of them the ESP.",
        ),
    ),
)


SIGNING: ValueShape[RawSigning] = Record(
    RawSigning,
    "What to sign with.",
    (
        Key(
            "key",
            LOCAL_FILE,
            "The private key: PEM, relative to this document, or the pkcs11: URI of one in a token.",
            required=True,
        ),
        Key("certificate", LOCAL_FILE, "Its certificate, PEM.", required=True),
        Key("module", LOCAL_FILE, "The token's PKCS#11 module, a shared library of this machine."),
    ),
)
