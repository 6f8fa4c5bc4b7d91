"""Kinds of the records in the store, each with its version.

A kind names a table: key → value. When the key or the value of a kind changes its meaning, its
version counts up: records of the former version are then never read again.
"""

from enum import StrEnum

FACTS_VERSION = 8
"""Version of the facts about packages: counts up with every change of what a fact means."""


class RecordKind(StrEnum):
    """The table that a record belongs to: `store.get(RecordKind.WEIGHT, sha256)`."""

    # archives
    INRELEASE = "inrelease/1"
    """URL, or archive and suite → SHA-256 of the InRelease that was there the last time."""
    NEWEST_RELEASE = "newest/2"
    """Archive, keys and canonical suite → date of the newest verified Release, seconds UTC."""
    RELEASE = "release/3"
    """SHA-256 of an InRelease → its parsed fields."""
    INDEX = "index/3"
    """SHA-256 of a Packages file → SHA-256 of the index made from it."""
    CONTENTS = "contents/1"
    """SHA-256 of a Contents file → SHA-256 of the index made from it."""
    CONTENTS_HINT = "contents-hint/1"
    """As CONTENTS, made from the file that a mirror serves in place of the one in the Release."""

    # packages
    FILES = f"files-{FACTS_VERSION}"
    """SHA-256 of a .deb → all entries of the package. Written last: FACTS and SYMBOLS are there."""
    FACTS = f"facts-{FACTS_VERSION}"
    """SHA-256 of a .deb, index of an entry → facts about its content."""
    SYMBOLS = f"symbols-{FACTS_VERSION}"
    """SHA-256 of a .deb, index of an entry → its dynamic symbols."""
    CONTROL = "control/1"
    """SHA-256 of a .deb → name, version and architecture in its control file."""
    MODULE_ALIASES = f"aliases-1-{FACTS_VERSION}"
    """Package of a kernel, block of aliases → modules by alias."""
    REREAD_FACTS = f"reread-2-{FACTS}"
    """SHA-256 of a content, and its path → facts that two readers agree on; b"" for none."""
    REREAD_SYMBOLS = f"reread-{SYMBOLS}"
    """SHA-256 of a content, and its path → its dynamic symbols; b"" for none."""
    VOUCHED_PACKAGE = "vouched/1"
    """Digest of a locked package, and of its signer → b"1" when a signed index lists it so."""

    # locks and manifests
    USED_LOCK = "lock-used/1"
    """SHA-256 of a lock's text → b"": a build of this user has used it."""
    TOOLS_LOCK = "tools.lock/2"
    """Digest over architecture and tools → a lock of the tools alone."""
    RENDERING = "rendering-1"
    """Digest of a template and its variables → the rendered text."""
    CHECKED_SCRIPT = "script/1"
    """SHA-256 of a script with marks for its quoted values → b"": the shell parses it."""

    # builds
    BUILD = "built/1"
    """Output directory → digests of the inputs and outputs of its last build."""
    VERIFIED_ROOTFS = "proved/1"
    """Digest over the files of a root and its waivers → b"": nothing is missing in it."""
    JOINED_FILE = "joined/1"
    """Digest over the contents that are joined → SHA-256 and size of the result."""
    SHELL = "shell/3"
    """SHA-256 of a script → the commands that it runs."""
    NAMED_PATHS = "strings/1"
    """SHA-256 of a content → the paths that it names."""
    HARDENING = "traits/2"
    """SHA-256 of an ELF file → its hardening."""
    WEIGHT = "weight/3"
    """SHA-256 of a content → its size when compressed."""
    SEGMENT = "segment/1"
    """Digest over the entries of an initramfs segment and its packer → SHA-256 of the segment."""

    # tools
    TOOL_CLOSURE = "toolbox/1"
    """Digest over the tools and their packages → the files that the tools need."""
    BYTECODE = "bytecode/1"
    """Tree of tools, path → SHA-256 of the bytecode that Python wrote there."""
    BUILDER_PYTHON = "builder-python/1"
    """Digest over all Python files of a builder → SHA-256 of their tar."""
    KVM_FAULT = "kvm/1"
    """This machine, a newline, way of booting → why KVM ran nothing, "" where it did; as JSON."""
