"""Contents of registries and layouts: descriptors, manifests and their media types.

Source: OCI Image Format Specification 1.1, descriptor.md, manifest.md, image-index.md,
annotations.md; OCI Distribution Specification 1.1.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from minbuild.errors import ArchiveError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
HOST_TYPE = "application/vnd.minbuild.host.v1"
"""The artifact type of a host: its layers are a recipe and the parts of its EFI file, in order."""
RECIPE_TYPE = "application/vnd.minbuild.recipe.v1"
PART_TYPE = "application/vnd.minbuild.part.v1"
SIGNATURE_TYPE = "application/vnd.minbuild.signature.v1"
"""The artifact type of signatures over the recipe, each a file as signify writes it."""
REFERRER_TYPES = {
    "footprint.json": "application/vnd.minbuild.footprint.v1+json",
    "sbom.cdx.json": "application/vnd.cyclonedx+json",
    "sbom.spdx.json": "application/spdx+json",
    "vex.cdx.json": "application/vnd.cyclonedx+json",
    "provenance.json": "application/vnd.in-toto+json",
}
"""File of a build → media type under which it refers to the host."""
ARCHITECTURES = {"amd64": "amd64", "arm64": "arm64", "riscv64": "riscv64"}
"""Debian architecture → GOARCH, which the index names. Source: image-index.md, platform."""
TITLE, VERSION, CREATED, REF_NAME = (
    f"org.opencontainers.image.{key}" for key in ("title", "version", "created", "ref.name")
)
EMPTY_CONFIG = b"{}"
MAX_MANIFEST_SIZE = 4 << 20
"""Bytes of the largest manifest. Source: OCI Distribution Specification 1.1, Pushing Manifests."""
MAX_BLOB_SIZE = 2 << 30
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
Document = Mapping[str, Any]
"""A manifest or an index as JSON has it."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A content by its digest. Source: descriptor.md."""

    media_type: str
    digest: str
    """sha256: and 64 digits."""
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    architecture: str = ""
    """Of an entry of an index: GOARCH."""

    @property
    def sha256(self) -> str:
        """The digest alone, in hexadecimal."""
        return self.digest.partition(":")[2]

    @property
    def title(self) -> str:
        """The name of the file that it is; "" without one."""
        return self.annotations.get(TITLE, "")

    def to_document(self) -> dict[str, object]:
        """As it stands in manifests."""
        document: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.architecture:
            document["platform"] = {"architecture": self.architecture, "os": "linux"}
        return document


class ContentSource(Protocol):
    """Where hosts are read from: a registry, or a layout on disk."""

    @property
    def name(self) -> str:
        """For people: what errors name."""
        ...

    def read_manifest(self, reference: str) -> bytes:
        """A manifest or index by its tag or digest. Raises: ArchiveError, PartMissing."""
        ...

    def read_blob(self, descriptor: Descriptor) -> bytes:
        """The bytes of a content; the caller compares the digest. Raises: PartMissing."""
        ...

    def list_referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """The manifests whose subject is this one. Raises: ArchiveError."""
        ...


class PartMissing(ArchiveError):
    """A registry does not give what it, or a signed recipe, names."""


class ForeignContent(ArchiveError):
    """A registry gives other bytes than those that were asked for by their digest."""


def compute_digest(data: bytes) -> str:
    """The digest of some bytes as descriptors have it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def describe(data: bytes, media_type: str, **annotations: str) -> Descriptor:
    """The descriptor of some bytes; `title` is the name of the file that they are."""
    named = {f"org.opencontainers.image.{key}": value for key, value in annotations.items()}
    return Descriptor(media_type, compute_digest(data), len(data), named)


def encode_document(document: Mapping[str, object]) -> bytes:
    """The bytes of a manifest: keys sorted, no blanks, so that equal content has one digest."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def encode_manifest(
    artifact_type: str,
    layers: Sequence[Descriptor],
    annotations: Mapping[str, str],
    subject: Descriptor | None = None,
) -> bytes:
    """A manifest of an artifact. Source: manifest.md, Guidelines for Artifact Usage."""
    config = describe(EMPTY_CONFIG, EMPTY_TYPE).to_document()
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": artifact_type,
        "config": config | {"data": "e30="},
        "layers": [layer.to_document() for layer in layers],
        "annotations": dict(annotations),
    }
    if subject is not None:
        bare = Descriptor(subject.media_type, subject.digest, subject.size)
        document["subject"] = bare.to_document()
    return encode_document(document)


def encode_image_index(manifests: Sequence[Descriptor], annotations: Mapping[str, str]) -> bytes:
    """An index of manifests, one for each architecture or referrer."""
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [entry.to_document() for entry in manifests],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    return encode_document(document)


def decode_document(data: bytes, where: str) -> Document:
    """Read a manifest or an index. Raises: ArchiveError when it is neither."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise make_manifest_error("it is no JSON", where) from error
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise make_manifest_error("it has no schemaVersion 2", where)
    return document


def list_descriptors(document: Document, key: str, where: str) -> tuple[Descriptor, ...]:
    """The descriptors in a list of a manifest. Raises: ArchiveError for one that is none."""
    entries = document.get(key, [])
    if not isinstance(entries, list):
        raise make_manifest_error(f"{key} is no list", where)
    return tuple(decode_descriptor(entry, where) for entry in entries)


def decode_descriptor(entry: object, where: str) -> Descriptor:
    """Read a descriptor. Raises: ArchiveError when it is none."""
    if not isinstance(entry, dict):
        raise make_manifest_error("a descriptor is no mapping", where)
    media_type, digest, size = (entry.get(key) for key in ("mediaType", "digest", "size"))
    annotations, platform = entry.get("annotations") or {}, entry.get("platform") or {}
    if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise make_manifest_error(f"a digest is not one of SHA-256: {digest!r}"[:200], where)
    if not (isinstance(size, int) and 0 <= size <= MAX_BLOB_SIZE):
        raise make_manifest_error(f"the size of {digest} is none that is read", where)
    if not (isinstance(annotations, dict) and isinstance(platform, dict)):
        raise make_manifest_error(f"the descriptor of {digest} is damaged", where)
    return Descriptor(
        str(media_type or ""),
        digest,
        size,
        {str(name): str(value) for name, value in annotations.items()},
        str(entry.get("artifactType") or ""),
        str(platform.get("architecture") or ""),
    )


def require_digest(data: bytes, digest: str, where: str) -> bytes:
    """Accept bytes that have this digest, and no others. Raises: ForeignContent."""
    if compute_digest(data) != digest:
        raise ForeignContent(
            f"{where} gives other bytes than {digest}",
            where=where,
            fix="it is damaged or lies: use another registry or mirror, and tell who runs it",
        )
    return data


def make_manifest_error(problem: str, where: str) -> ArchiveError:
    """The error of a manifest that cannot be read."""
    return ArchiveError(
        f"the manifest cannot be read: {problem}", where=where, fix="publish the host again"
    )
