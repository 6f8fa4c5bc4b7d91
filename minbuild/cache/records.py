"""Small records in SQLite: (kind, key) → bytes, each behind a checksum; every kind with its
version.

A kind names a table: key → value. When the key or the value of a kind changes its meaning, its
version counts up: records of the former version are then never read again.

Records are committed by SQLite, so processes may share them. A damaged record is dropped; a file of
records too damaged to be used is left for a new one, whose number is one higher.
"""

import contextlib
import os
import sqlite3
import threading
import weakref
import zlib
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from minbuild.errors import ToolError
from minbuild.file_io import translate_disk_errors

FACTS_VERSION = 9
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
    """SHA-256 of a .deb → all entries of the package. Written last: FACTS, but those of kernel modules,
    and MODULE_ALIASES are there."""
    FACTS = f"facts-{FACTS_VERSION}"
    """SHA-256 of a .deb, index of an entry → facts about its content."""
    CONTROL = "control/1"
    """SHA-256 of a .deb → name, version and architecture in its control file."""
    MODULE_ALIASES = f"aliases-1-{FACTS_VERSION}"
    """Package of a kernel, block of aliases → modules by alias."""
    REREAD_FACTS = f"reread-2-{FACTS}"
    """SHA-256 of a content, and its path → facts that two readers agree on; b"" for none."""
    REREAD_SYMBOLS = f"reread-symbols-{FACTS_VERSION}"
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
    SOURCE_CODE = "source/1"
    """Digest over paths, sizes and times of minbuild's own files → digest over their contents."""

    # hosts from registries
    PULLED_HOST = "pulled/1"
    """Key that is believed or address, name, architecture → newest version pulled, its SHA-256."""

    # builds
    BUILD = "built/1"
    """Output directory → digests of the inputs and outputs of its last build."""
    BUILD_PAGE = "page/1"
    """Output directory → digest over its record BUILD and a width, and what `make` shows of it."""
    VERIFIED_ROOTFS = "proved/1"
    """Digest over the files of a root and its waivers → b"": nothing is missing in it."""
    JOINED_FILE = "joined/1"
    """Digest over the contents that are joined → SHA-256 and size of the result."""
    SHELL = "shell/3"
    """SHA-256 of a script → the commands that it runs."""
    NAMED_PATHS = "strings/1"
    """SHA-256 of a content → the paths that it names."""
    HARDENING = "traits/3"
    """SHA-256 of an ELF file → its hardening."""
    WEIGHT = "weight/3"
    """SHA-256 of a content → its size when compressed."""
    SEGMENT = "segment/1"
    """Digest over the entries of an initramfs segment and its packer → SHA-256 of the segment."""

    # kernels
    KERNEL_OPTIONS = "kernel-options/1"
    """Digest over a kernel's source, toolchain and what is asked for → its options with their reasons."""
    BUILT_KERNEL = "kernel/1"
    """Digest over a kernel's source, toolchain and options → SHA-256 of the package with it."""

    # tools
    TOOL_CLOSURE = "toolbox/1"
    """Digest over the tools and their packages → the files that the tools need."""
    BYTECODE = "bytecode/1"
    """Tree of tools, path → SHA-256 of the bytecode that Python wrote there."""
    BUILDER_PYTHON = "builder-python/1"
    """Digest over all Python files of a builder → SHA-256 of their tar."""
    KVM_FAULT = "kvm/1"
    """This machine, a newline, way of booting → why KVM ran nothing, "" where it did; as JSON."""


_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (kind TEXT, key TEXT, value BLOB, PRIMARY KEY (kind, key))
WITHOUT ROWID
"""


FORMAT_VERSION = 1
"""Counts up when records are kept in another way: files of other formats are left alone."""
MAX_ATTEMPTS = 3
"""Files of records that one question may find damaged."""

T = TypeVar("T")


class Records:
    """The records of one directory, which is there; safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        """Know where they are: they are opened, or made, when they are first asked."""
        self.directory = directory.absolute()
        self._local = threading.local()
        self._connections: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self.damage_log: list[str] = []
        """Entries that were found damaged and dropped, for people."""

    def close_this_thread(self) -> None:
        """Close this thread's records until they are asked again: before a fork they must be."""
        connection: tuple[Path, sqlite3.Connection] | None = getattr(self._local, "records", None)
        self._local.records = None
        if connection is not None:
            connection[1].close()

    def close(self) -> None:
        """Close the records of every thread; none of them may be asking."""
        self.close_this_thread()
        for connection in list(self._connections):
            connection.close()

    def get(self, kind: RecordKind, key: str) -> bytes | None:
        """One record's value; None when there is none, or it was damaged."""
        query = "SELECT value FROM record WHERE kind = ? AND key = ?"
        row = self._query(lambda records: records.execute(query, (kind, key)).fetchone())
        if row is None:
            return None
        value = _check_and_strip(kind, key, row[0])
        if value is None:
            self.damage_log.append(f"record {kind} {key}")
            with contextlib.suppress(ToolError):
                self.remove(kind, [key])
        return value

    def get_all(self, kind: RecordKind, prefix: str = "") -> dict[str, bytes]:
        """Every sound record whose key starts with `prefix`, sorted by key."""
        query = "SELECT key, value FROM record WHERE kind = ? AND key >= ? AND key < ? ORDER BY key"
        parameters = (kind, prefix, prefix + "\U0010ffff")
        rows = self._query(lambda records: records.execute(query, parameters).fetchall())
        rows_as_text = ((key.decode("utf-8", "replace"), value) for key, value in rows)
        values = {key: _check_and_strip(kind, key, value) for key, value in rows_as_text}
        return {key: value for key, value in values.items() if value is not None}

    def put(
        self, kind: RecordKind, rows: Mapping[str, bytes] | Iterable[tuple[str, bytes]]
    ) -> None:
        """Keep records, all or none of them; a record that is there is replaced."""
        pairs = rows.items() if isinstance(rows, Mapping) else rows
        name = str(kind)  # SQLite takes a plain str at once, and asks others for an adapter
        checksummed = [(name, key, _add_checksum(name, key, value)) for key, value in pairs]
        query = "INSERT OR REPLACE INTO record (kind, key, value) VALUES (?, ?, ?)"
        self._modify(lambda records: records.executemany(query, checksummed))

    def remove(self, kind: RecordKind, keys: Iterable[str]) -> None:
        """Remove records, those that are there."""
        pairs = [(kind, key) for key in keys]
        query = "DELETE FROM record WHERE kind = ? AND key = ?"
        self._modify(lambda records: records.executemany(query, pairs))

    def count_records(self) -> int:
        """How many records there are."""
        query = "SELECT count(*) FROM record"
        return int(self._query(lambda records: records.execute(query).fetchone())[0])

    def check_records(self) -> tuple[int, tuple[str, ...]]:
        """Hold every record against its checksum; a damaged one is removed.

        Returns how many were checked, and the damaged ones.
        """

        def read_all(records: sqlite3.Connection) -> list[tuple[bytes, bytes, object]]:
            (result,) = records.execute("PRAGMA quick_check(1)").fetchone()
            if result != b"ok":
                raise sqlite3.DatabaseError(result.decode("utf-8", "replace"))
            return records.execute("SELECT kind, key, value FROM record").fetchall()

        damage_before = len(self.damage_log)
        rows = self._query(read_all)
        damaged: list[tuple[bytes, bytes]] = []
        for kind, key, value in rows:
            identity = (kind.decode("utf-8", "replace"), key.decode("utf-8", "replace"))
            if _check_and_strip(*identity, value) is None:
                damaged.append((kind, key))
        query = "DELETE FROM record WHERE CAST(kind AS BLOB) = ? AND CAST(key AS BLOB) = ?"
        if damaged:
            self._modify(lambda records: records.executemany(query, damaged))
        names = [f"{kind!r} {key!r}" for kind, key in damaged]
        return len(rows), (*self.damage_log[damage_before:], *names)

    def vacuum(self) -> None:
        """Give the space of removed records back to the disk."""
        self._query(lambda records: records.execute("VACUUM"))

    def _modify(self, modify: Callable[[sqlite3.Connection], object]) -> None:
        def run_transaction(records: sqlite3.Connection) -> None:
            with records:
                modify(records)

        self._query(run_transaction)

    def _query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Ask the records; those that are no database any more are left for new ones.

        Raises: ToolError when they cannot be read or written.
        """
        for _ in range(MAX_ATTEMPTS):
            try:
                return query(self._connect())
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise ToolError(
                        f"cannot write the store's records: {error}",
                        where=str(self.current_file),
                        fix="free space or change the rights there, or name another store: --store DIR",
                    ) from error
                self._start_new_file(str(error))
        raise ToolError(
            "the store's records are damaged, and new ones too",
            where=str(self.current_file),
            fix=f"check the disk, then remove the store, it is only a cache: rm -r {self.directory}",
        )

    @property
    def current_file(self) -> Path:
        """The file of records in use."""
        prefix = f"records-{FORMAT_VERSION}."
        numbers = (
            path.name.removeprefix(prefix).removesuffix(".sqlite")
            for path in self.directory.glob(f"{prefix}*.sqlite")
        )
        newest = max((int(text) for text in numbers if text.isdecimal()), default=0)
        return self.directory / f"{prefix}{newest}.sqlite"

    def _start_new_file(self, reason: str) -> None:
        """Leave damaged records; other processes that use them find the new ones by themselves.

        Nothing is removed: SQLite may not lose files that another process has open.
        """
        connected: tuple[Path, sqlite3.Connection] | None = getattr(self._local, "records", None)
        self._local.records = None
        damaged = self.current_file if connected is None else connected[0]
        if connected is not None:
            with contextlib.suppress(sqlite3.Error):
                connected[1].close()
        self.damage_log.append(f"{damaged.name} ({reason})")
        if self.current_file == damaged:
            stem, number, suffix = damaged.name.rsplit(".", 2)
            with translate_disk_errors(self.directory):
                damaged.with_name(f"{stem}.{int(number) + 1}.{suffix}").touch()

    def _connect(self) -> sqlite3.Connection:
        connected: tuple[Path, sqlite3.Connection] | None = getattr(self._local, "records", None)
        if connected is not None:
            return connected[1]
        path = self.current_file
        _make_private(path)
        connection = sqlite3.connect(path, timeout=60, check_same_thread=False, factory=_Connection)
        connection.text_factory = bytes  # a damaged text must not fail to be read
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        self._local.records = (path, connection)
        self._connections.add(connection)
        return connection


def _make_private(path: Path) -> None:
    """Let the user alone read a file of records, and those that SQLite makes like it."""
    if path.exists():
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


class _Connection(sqlite3.Connection):
    """A connection that is closed when its thread or its store is gone, by whichever thread."""

    def __del__(self) -> None:
        self.close()


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """It is no database (any more), and not the disk or the rights that fail."""
    if not isinstance(error, sqlite3.OperationalError):
        return True
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) == sqlite3.SQLITE_ERROR


def _add_checksum(kind: str, key: str, value: bytes) -> bytes:
    """A value behind a checksum over it and its key."""
    return zlib.crc32(value, zlib.crc32(f"{kind}\0{key}".encode())).to_bytes(4, "little") + value


def _check_and_strip(kind: str, key: str, stored: object) -> bytes | None:
    """The value behind its checksum; None when it is damaged."""
    if not isinstance(stored, bytes) or _add_checksum(kind, key, stored[4:]) != stored:
        return None
    return stored[4:]
