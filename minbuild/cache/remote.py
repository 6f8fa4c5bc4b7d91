"""The shared store: what several machines have fetched and read, kept for all of them.

    cas/sha256/ab/abcdef…         one file's bytes, named by their SHA-256
    records/KIND/ab/abcdef…       what was found out of the file with that SHA-256, sealed

A file is believed when its bytes have the digest that a lock or a signed index names. Records cannot
be checked so: they are taken when they are sealed by a key that the user named, and not at all
without one.
"""

import hashlib
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Protocol

import zstandard

from minbuild.cache.records import RecordKind
from minbuild.cache.remote_objects import DirectoryObjects, Objects, RemoteFailed, RemoteRefused

MAX_RECORDS_SIZE = 256 << 20
"""Bytes of the records of one file, unpacked."""
MAX_SEALED_SIZE = 32 << 20
"""Bytes of those records as they are in the shared store."""
BATCH_SIZE = 64 << 20
"""Bytes that are asked for at once: so much memory a batch takes, or the largest file."""
_ROW = struct.Struct("<HHI")
"""Before each record: lengths of its kind, its key and its value."""
Row = tuple[RecordKind, str, bytes]
Note = Callable[[str], None]


class LocalStore(Protocol):
    """What is used of the store of this machine, which knows this module."""

    def add(self, data: bytes) -> str: ...
    def get(self, kind: RecordKind, key: str) -> bytes | None: ...
    def find_verified(self, sha256: str) -> Path | None: ...
    def put(self, kind: RecordKind, rows: Mapping[str, bytes]) -> None: ...


class Seal(Protocol):
    """Signs records, and knows whose are believed."""

    @property
    def can_sign(self) -> bool:
        """Tell whether there is a secret key."""

    def sign(self, message: bytes) -> bytes:
        """A signature of a message."""

    def is_valid(self, message: bytes, signature: bytes) -> bool:
        """Tell whether a key that is believed has signed a message."""


SIGNATURE_SIZE = 64


def open_objects(url: str) -> Objects:
    """The objects at a URL, or in a directory.

    Raises: RemoteFailed when its library is not installed.
    """
    if "://" not in url or url.startswith("file://"):
        return DirectoryObjects(Path(url.removeprefix("file://")).expanduser())
    try:
        from minbuild.cache.fsspec_objects import FsspecObjects  # an extra, and 0.1 s
    except ImportError as error:
        raise RemoteFailed(f"{error}: install minbuild[fleet]") from error
    return FsspecObjects(url)


def name_content(sha256: str) -> str:
    """Where a file lies."""
    return f"cas/sha256/{sha256[:2]}/{sha256}"


def name_records(kind: RecordKind, sha256: str) -> str:
    """Where the records of a file lie; `kind` is the one that is written last."""
    return f"records/{kind.replace('/', '-')}/{sha256[:2]}/{sha256}"


class RemoteStore:
    """A shared store beside the one of this machine; a failure of it never fails a build."""

    def __init__(self, url: str, objects: Objects, *, writes: bool, seal: Seal | None) -> None:
        """`writes`: False for a shared store that is only read."""
        self.url = url
        self.objects = objects
        self.seal = seal
        self._reads, self._writes = True, writes
        self._absent: set[str] = set()
        """Names that the remote did not have: not asked for again, and written once they are here."""

    def fetch_files(
        self, store: LocalStore, sizes: Mapping[str, int], note: Note
    ) -> frozenset[str]:
        """Bring files into a store; returns the digests of those that came.

        `sizes`: bytes that a file has at most.
        """
        came: set[str] = set()
        digests = {name_content(sha256): sha256 for sha256 in sizes}
        limits = {name: sizes[sha256] for name, sha256 in digests.items()}

        def take(name: str, data: bytes | None) -> None:
            sha256 = digests[name]
            if data is None:
                self._absent.add(name)
            elif len(data) <= sizes[sha256] and hashlib.sha256(data).hexdigest() == sha256:
                store.add(data)
                came.add(sha256)
            else:
                note(f"{self.url} has wrong bytes as {name}: left there, not used")

        for batch in _split(limits):
            self._try_to_read(batch, take, note)
        return frozenset(came)

    def share_files(self, store: LocalStore, digests: Collection[str], note: Note) -> None:
        """Give files to the others that the remote did not have when it was asked."""
        paths = {name_content(sha256): store.find_verified(sha256) for sha256 in digests}
        self._try_to_create(
            {name: path for name, path in paths.items() if path and name in self._absent}, note
        )

    def fetch_records(
        self, store: LocalStore, kind: RecordKind, digests: Iterable[str], note: Note
    ) -> None:
        """Bring the records of files into a store, those that a believed key has sealed."""
        if self.seal is None:
            return
        names = {name_records(kind, sha256): sha256 for sha256 in digests}

        def take(name: str, data: bytes | None) -> None:
            if data is None:
                self._absent.add(name)
                return
            rows = self._unseal(name, data)
            if rows is None:
                note(f"{self.url} has {name} without the seal of a key that is believed: not used")
                return
            for kind, group in groupby(rows, key=lambda row: row[0]):
                store.put(kind, {key: value for _, key, value in group})

        self._try_to_read(dict.fromkeys(names, MAX_SEALED_SIZE), take, note)

    def share_records(
        self, kind: RecordKind, rows_by_digest: Mapping[str, Iterable[Row]], note: Note
    ) -> None:
        """Give records of files to the others, sealed; the remote did not have them."""
        if self.seal is None or not self.seal.can_sign or not self._writes:
            return
        sealed = {
            name: self._seal(name, rows)
            for sha256, rows in rows_by_digest.items()
            if (name := name_records(kind, sha256)) in self._absent
        }
        self._try_to_create(sealed, note)

    def fetch_made(
        self, store: LocalStore, kind: RecordKind, limits: Mapping[str, int], note: Note
    ) -> None:
        """Bring what was made of others: a record of `kind` says which file a key stands for.

        `limits`: key → bytes that the file has at most.
        """
        self.fetch_records(store, kind, limits, note)
        made = {key: store.get(kind, key) for key in limits}
        sizes = {value.decode(): limits[key] for key, value in made.items() if value is not None}
        if sizes:
            self.fetch_files(store, sizes, note)

    def share_made(
        self, store: LocalStore, kind: RecordKind, digests: Mapping[str, str], note: Note
    ) -> None:
        """Give what was made to the others, where the remote did not have it: first the files.

        `digests`: key → SHA-256 of the file.
        """
        if self.seal is None or not self.seal.can_sign:
            return
        new = {key: sha for key, sha in digests.items() if name_records(kind, key) in self._absent}
        self._absent |= {name_content(sha256) for sha256 in new.values()}
        self.share_files(store, list(new.values()), note)
        rows = {key: [(kind, key, sha256.encode())] for key, sha256 in new.items()}
        self.share_records(kind, rows, note)

    def _seal(self, name: str, rows: Iterable[Row]) -> bytes:
        assert self.seal is not None
        body = zstandard.ZstdCompressor(level=9).compress(
            b"".join(
                _ROW.pack(len(kind.encode()), len(key.encode()), len(value))
                + kind.encode() + key.encode() + value
                for kind, key, value in rows
            )
        )  # fmt: skip
        return self.seal.sign(_sign_what(name, body)) + body

    def _unseal(self, name: str, data: bytes) -> list[Row] | None:
        """The records of an object; None when nobody who is believed has sealed it for this name."""
        assert self.seal is not None
        signature, body = data[:SIGNATURE_SIZE], data[SIGNATURE_SIZE:]
        if not self.seal.is_valid(_sign_what(name, body), signature):
            return None
        unpacked = zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_RECORDS_SIZE)
        sha256 = name.rpartition("/")[2]
        return [row for row in _parse_rows(unpacked) if row[1].startswith(sha256)]

    def _try_to_read(
        self, limits: Mapping[str, int], take: Callable[[str, bytes | None], None], note: Note
    ) -> None:
        limits = {name: limit for name, limit in limits.items() if name not in self._absent}
        if not self._reads or not limits:
            return
        try:
            self.objects.read(limits, take)
        except RemoteFailed as error:
            self._reads = self._writes = False
            note(f"{self.url} cannot be read: {error}: going on without it")

    def _try_to_create(self, sources: Mapping[str, Path | bytes], note: Note) -> None:
        if not self._writes or not sources:
            return
        try:
            self.objects.create(sources)
        except RemoteRefused as error:
            self._writes = False
            note(f"{self.url} cannot be written, and is only read: {error}")
        except RemoteFailed as error:
            self._reads = self._writes = False
            note(f"{self.url} cannot be written: {error}: going on without it")
        else:
            self._absent -= sources.keys()


def _sign_what(name: str, body: bytes) -> bytes:
    """What a seal is over: records of one file are none of another."""
    return f"minbuild records 1\n{name}\n{hashlib.sha256(body).hexdigest()}\n".encode()


def _parse_rows(data: bytes) -> list[Row]:
    """Records as they are packed; those of kinds that only other versions of minbuild know are left."""
    known = {str(kind): kind for kind in RecordKind}
    rows = []
    at = 0
    while at < len(data):
        kind_size, key_size, size = _ROW.unpack_from(data, at)
        at += _ROW.size
        kind = known.get(data[at : at + kind_size].decode())
        key = data[at + kind_size : at + kind_size + key_size].decode()
        at += kind_size + key_size
        if kind is not None:
            rows.append((kind, key, data[at : at + size]))
        at += size
    return rows


def _split(limits: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Batches whose bytes are bounded, the largest files first."""
    batch: dict[str, int] = {}
    total = 0
    for name, size in sorted(limits.items(), key=lambda item: (-item[1], item[0])):
        if batch and total + size > BATCH_SIZE:
            yield batch
            batch, total = {}, 0
        batch[name] = size
        total += size
    if batch:
        yield batch
