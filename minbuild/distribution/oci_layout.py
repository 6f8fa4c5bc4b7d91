"""An OCI image layout on disk: what is written before anything is sent, and what any web server or
stick can serve.

Source: OCI Image Format Specification 1.1, image-layout.md.
"""

import json
from pathlib import Path

from minbuild.distribution.model import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    MAX_MANIFEST_SIZE,
    REF_NAME,
    Descriptor,
    PartMissing,
    compute_digest,
    decode_document,
    encode_image_index,
    list_descriptors,
    make_manifest_error,
    require_digest,
)
from minbuild.errors import ArchiveError
from minbuild.file_io import read_beneath, translate_disk_errors, write_atomic

LAYOUT_FILE, INDEX_FILE, LAYOUT_VERSION = "oci-layout", "index.json", "1.0.0"


class Layout:
    """A layout directory; contents that it has are not written again."""

    def __init__(self, directory: Path) -> None:
        """Name a layout; `create` makes it."""
        self.directory = directory

    @property
    def name(self) -> str:
        """For people: what errors name."""
        return str(self.directory)

    def create(self) -> None:
        """Make the directory and its two files where they are not there. Raises: ToolError."""
        with translate_disk_errors(self.directory):
            (self.directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            if not (self.directory / LAYOUT_FILE).exists():
                version = json.dumps({"imageLayoutVersion": LAYOUT_VERSION})
                write_atomic(self.directory / LAYOUT_FILE, version.encode())
            if not (self.directory / INDEX_FILE).exists():
                write_atomic(self.directory / INDEX_FILE, encode_image_index((), {}))

    def add_blob(self, data: bytes) -> None:
        """Keep bytes under their digest. Raises: ToolError."""
        path = self._locate(compute_digest(data))
        if not (path.exists() and path.read_bytes() == data):
            write_atomic(path, data)

    def add_manifest(self, manifest: bytes, descriptor: Descriptor, tag: str = "") -> None:
        """Keep a manifest and list it in the index; a tag moves from the one that has had it.

        Raises: ToolError, ArchiveError when the index is damaged.
        """
        self.add_blob(manifest)
        entries = list(self.list_entries())
        entries = [
            entry
            for entry in entries
            if not (tag and entry.annotations.get(REF_NAME) == tag)
            and not (not tag and entry.digest == descriptor.digest)
        ]
        annotations = {**descriptor.annotations, **({REF_NAME: tag} if tag else {})}
        entries.append(
            Descriptor(
                descriptor.media_type,
                descriptor.digest,
                descriptor.size,
                annotations,
                descriptor.artifact_type,
            )
        )
        write_atomic(self.directory / INDEX_FILE, encode_image_index(entries, {}))

    def list_entries(self) -> tuple[Descriptor, ...]:
        """What the index lists: tagged hosts, and manifests that refer to others.

        Raises: ArchiveError when there is no layout, or a damaged one.
        """
        where = str(self.directory / INDEX_FILE)
        try:
            data = read_beneath(self.directory, INDEX_FILE, MAX_MANIFEST_SIZE)
            read_beneath(self.directory, LAYOUT_FILE, MAX_MANIFEST_SIZE)
        except OSError as error:
            raise ArchiveError(
                f"there is no OCI layout: {error.strerror}", where=self.name,
                fix="name the directory that minbuild push or skopeo copy has written",
            ) from error  # fmt: skip
        return list_descriptors(decode_document(data, where), "manifests", where)

    def find_tag(self, tag: str) -> Descriptor:
        """The manifest that has a tag; a digest is found, too. Raises: PartMissing."""
        tags = []
        for entry in self.list_entries():
            name = entry.annotations.get(REF_NAME, "")
            if tag in {name, entry.digest}:
                return entry
            tags += [name] if name else []
        raise PartMissing(
            f"the layout has no host {tag}", where=self.name,
            fix=f"name one that it has: {', '.join(tags)}" if tags else "push a host there first",
        )  # fmt: skip

    def read_manifest(self, reference: str) -> bytes:
        """A manifest by its tag or digest. Raises: ArchiveError."""
        if not reference.startswith("sha256:"):
            reference = self.find_tag(reference).digest
        return require_digest(self._read(reference, MAX_MANIFEST_SIZE), reference, self.name)

    def read_blob(self, descriptor: Descriptor) -> bytes:
        """The bytes of a content, not compared with its digest. Raises: PartMissing."""
        return self._read(descriptor.digest, descriptor.size)

    def list_referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """The manifests of the index whose subject is this one. Raises: ArchiveError."""
        referrers = []
        for entry in self.list_entries():
            if entry.media_type != MANIFEST_TYPE:
                continue
            document = decode_document(self.read_manifest(entry.digest), self.name)
            subject = document.get("subject")
            if isinstance(subject, dict) and subject.get("digest") == digest:
                referrers.append(entry)
        return tuple(referrers)

    def list_hosts(self, top: Descriptor) -> tuple[Descriptor, ...]:
        """The manifests of an index, or the one manifest itself. Raises: ArchiveError."""
        if top.media_type == MANIFEST_TYPE:
            return (top,)
        if top.media_type != INDEX_TYPE:
            raise make_manifest_error(f"{top.media_type} is neither manifest nor index", self.name)
        document = decode_document(self.read_manifest(top.digest), self.name)
        return list_descriptors(document, "manifests", self.name)

    def _locate(self, digest: str) -> Path:
        return self.directory / "blobs" / "sha256" / digest.partition(":")[2]

    def _read(self, digest: str, limit: int) -> bytes:
        try:
            return read_beneath(
                self.directory, f"blobs/sha256/{digest.partition(':')[2]}", max(limit, 1)
            )
        except OSError as error:
            raise PartMissing(
                f"the layout lacks {digest}: {error.strerror}", where=self.name,
                fix="push the host there again",
            ) from error  # fmt: skip
