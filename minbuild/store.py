"""The content-addressed cache on disk: files by SHA-256, and small records in SQLite.

Safe to delete at any time, safe to share between processes: files are written beside and renamed,
records are committed by SQLite. What was damaged is never served: files are checked by their names,
records by a checksum; a damaged entry is dropped, named in `Store.wounds`, and made or fetched anew.

    STORE/files/ab/abcdef…     one file's bytes, named by their SHA-256
    STORE/records-1.0.sqlite   (kind, key) → bytes: facts, indices, states of builds; the last
                               number counts up when a file of records was too damaged to be used
    STORE/trees/KEY/           unpacked trees of tools
    STORE/partial/             downloads to be resumed, and work in progress
    STORE/turns                locked by those whose work others wait for
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sqlite3
import struct
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from minbuild.errors import ToolError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (kind TEXT, key TEXT, value BLOB, PRIMARY KEY (kind, key))
WITHOUT ROWID
"""


FORMAT = 1
"""Counts up when records are kept in another way: files of other formats are left alone."""
TRIES = 3
"""Files of records that one question may find damaged."""

T = TypeVar("T")


class Lost(ToolError):
    """The store lacks what it had, or had it damaged: the same command, run again, makes it anew."""


class Store:
    """One store directory; safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        """Open the store, made when it is not there.

        Raises: ToolError when the directory cannot be made or written.
        """
        self.directory = directory.absolute()
        self._local = threading.local()
        self._sound: set[str] = set()
        self.wounds: list[str] = []
        """Entries that were found damaged and dropped, for people."""
        with full_disk(self.directory):
            for name in ("files", "partial", "trees"):
                (self.directory / name).mkdir(parents=True, exist_ok=True)
        self._ask(lambda records: None)

    def file(self, sha256: str) -> Path | None:
        """Where the bytes with this digest lie; None when they are not here."""
        path = self._place(sha256)
        return path if path.exists() else None

    def read(self, sha256: str) -> bytes | None:
        """The bytes with this digest, checked again; None when they are not here or damaged.

        A damaged file is removed, so that it is fetched or made again.
        """
        try:
            data = self._place(sha256).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
        self._drop(sha256)
        return None

    def need(self, sha256: str) -> bytes:
        """The bytes with this digest, which must be here.

        Raises: Lost.
        """
        data = self.read(sha256)
        if data is None:
            raise Lost(
                "the store lost a file, or it was damaged there",
                where=f"{self.directory}: {sha256}",
                fix="run the same command again; the file is fetched or made anew",
            )
        return data

    def sound(self, sha256: str) -> Path | None:
        """Where the bytes with this digest lie, checked once a run; None as for `read`."""
        path = self.file(sha256)
        if path is None or sha256 in self._sound:
            return path
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None
        if found != sha256:
            self._drop(sha256)
            return None
        self._sound.add(sha256)
        return path

    def add(self, data: bytes) -> str:
        """Keep bytes; returns their SHA-256. Written whole or not at all."""
        sha256 = hashlib.sha256(data).hexdigest()
        place = self._place(sha256)
        if not place.exists():
            with full_disk(self.directory), self.work() as work:
                (work / "file").write_bytes(data)
                self._rename(work / "file", place)
        return sha256

    def adopt(self, path: Path, sha256: str) -> Path:
        """Move a file that the caller has checked into the store; returns its place there."""
        place = self._place(sha256)
        with full_disk(self.directory):
            self._rename(path, place)
        self._sound.add(sha256)
        return place

    def forget(self, sha256: str) -> None:
        """Remove the bytes with this digest, if they are here."""
        self._sound.discard(sha256)
        self._place(sha256).unlink(missing_ok=True)

    def _drop(self, sha256: str) -> None:
        self.wounds.append(f"file {sha256}")
        self.forget(sha256)

    @contextlib.contextmanager
    def work(self) -> Iterator[Path]:
        """A directory on the store's file system, removed at the end."""
        with full_disk(self.directory):
            path = Path(tempfile.mkdtemp(prefix="work-", dir=self.directory / "partial"))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def partial(self, key: str) -> Path:
        """Where a download named by its digest grows, to be resumed and then adopted."""
        return self.directory / "partial" / key

    def tree(self, key: str) -> Path:
        """Where an unpacked tree with this key lies or will lie (the caller renames it there)."""
        return self.directory / "trees" / key

    @contextlib.contextmanager
    def turn(self, key: str) -> Iterator[None]:
        """Wait until no other thread or process has the turn of `key`, and take it.

        What it was for may have been done meanwhile: look again.
        Source: fcntl(2), open file description locks.
        """
        start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "little")
        with full_disk(self.directory):
            turns = os.open(self.directory / "turns", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0)
            with contextlib.suppress(OSError):  # without locks work may be done twice, as well
                fcntl.fcntl(turns, fcntl.F_OFD_SETLKW, lock)
            yield
        finally:
            os.close(turns)

    def rest(self) -> None:
        """Close this thread's records until they are asked again: before a fork they must be."""
        opened: tuple[Path, sqlite3.Connection] | None = getattr(self._local, "records", None)
        self._local.records = None
        if opened is not None:
            opened[1].close()

    def get(self, kind: str, key: str) -> bytes | None:
        """One record's value; None when there is none, or it was damaged."""
        query = "SELECT value FROM record WHERE kind = ? AND key = ?"
        row = self._ask(lambda records: records.execute(query, (kind, key)).fetchone())
        if row is None:
            return None
        value = _opened(kind, key, row[0])
        if value is None:
            self.wounds.append(f"record {kind} {key}")
            with contextlib.suppress(ToolError):
                self.remove(kind, [key])
        return value

    def get_all(self, kind: str, prefix: str = "") -> dict[str, bytes]:
        """Every sound record whose key starts with `prefix`, sorted by key."""
        query = "SELECT key, value FROM record WHERE kind = ? AND key >= ? AND key < ? ORDER BY key"
        words = (kind, prefix, prefix + "\U0010ffff")
        rows = self._ask(lambda records: records.execute(query, words).fetchall())
        texts = ((key.decode("utf-8", "replace"), value) for key, value in rows)
        found = {key: _opened(kind, key, value) for key, value in texts}
        return {key: value for key, value in found.items() if value is not None}

    def put(self, kind: str, rows: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> None:
        """Keep records, all or none of them; a record that is there is replaced."""
        pairs = rows.items() if isinstance(rows, Mapping) else rows
        sealed = [(kind, key, _sealed(kind, key, value)) for key, value in pairs]
        query = "INSERT OR REPLACE INTO record (kind, key, value) VALUES (?, ?, ?)"
        self._change(lambda records: records.executemany(query, sealed))

    def remove(self, kind: str, keys: Iterable[str]) -> None:
        """Remove records, those that are there."""
        pairs = [(kind, key) for key in keys]
        query = "DELETE FROM record WHERE kind = ? AND key = ?"
        self._change(lambda records: records.executemany(query, pairs))

    def count(self) -> int:
        """How many records there are."""
        query = "SELECT count(*) FROM record"
        return int(self._ask(lambda records: records.execute(query).fetchone())[0])

    def check_records(self) -> tuple[int, tuple[str, ...]]:
        """Hold every record against its checksum; a damaged one is removed.

        Returns how many were checked, and the damaged ones.
        """

        def sound(records: sqlite3.Connection) -> list[tuple[bytes, bytes, object]]:
            (said,) = records.execute("PRAGMA quick_check(1)").fetchone()
            if said != b"ok":
                raise sqlite3.DatabaseError(said.decode("utf-8", "replace"))
            return records.execute("SELECT kind, key, value FROM record").fetchall()

        before = len(self.wounds)
        rows = self._ask(sound)
        bad: list[tuple[bytes, bytes]] = []
        for kind, key, value in rows:
            words = (kind.decode("utf-8", "replace"), key.decode("utf-8", "replace"))
            if _opened(*words, value) is None:
                bad.append((kind, key))
        query = "DELETE FROM record WHERE CAST(kind AS BLOB) = ? AND CAST(key AS BLOB) = ?"
        if bad:
            self._change(lambda records: records.executemany(query, bad))
        names = [f"{kind!r} {key!r}" for kind, key in bad]
        return len(rows), (*self.wounds[before:], *names)

    def shrink(self) -> None:
        """Give the space of removed records back to the disk."""
        self._ask(lambda records: records.execute("VACUUM"))

    def _change(self, work: Callable[[sqlite3.Connection], object]) -> None:
        def changed(records: sqlite3.Connection) -> None:
            with records:
                work(records)

        self._ask(changed)

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask the records; those that are no database any more are left for new ones.

        Raises: ToolError when they cannot be read or written.
        """
        for _ in range(TRIES):
            try:
                return question(self._records())
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    with full_disk(self.directory):
                        raise
                self._renew(str(error))
        raise ToolError(
            "the store's records are damaged, and new ones too",
            where=str(self.records),
            fix=f"check the disk, then remove the store, it is only a cache: rm -r {self.directory}",
        )

    @property
    def records(self) -> Path:
        """The file of records in use."""
        start = f"records-{FORMAT}."
        numbers = (
            path.name.removeprefix(start).removesuffix(".sqlite")
            for path in self.directory.glob(f"{start}*.sqlite")
        )
        newest = max((int(text) for text in numbers if text.isdecimal()), default=0)
        return self.directory / f"{start}{newest}.sqlite"

    def _renew(self, reason: str) -> None:
        """Leave damaged records; other processes that use them find the new ones by themselves.

        Nothing is removed: SQLite may not lose files that another process has open.
        """
        opened: tuple[Path, sqlite3.Connection] | None = getattr(self._local, "records", None)
        self._local.records = None
        bad = self.records if opened is None else opened[0]
        if opened is not None:
            with contextlib.suppress(sqlite3.Error):
                opened[1].close()
        self.wounds.append(f"{bad.name} ({reason})")
        if self.records == bad:
            start, number, end = bad.name.rsplit(".", 2)
            with full_disk(self.directory):
                bad.with_name(f"{start}.{int(number) + 1}.{end}").touch()

    def _place(self, sha256: str) -> Path:
        return self.directory / "files" / sha256[:2] / sha256

    def _rename(self, source: Path, place: Path) -> None:
        place.parent.mkdir(exist_ok=True)
        source.chmod(0o444)
        os.replace(source, place)

    def _records(self) -> sqlite3.Connection:
        found: tuple[Path, sqlite3.Connection] | None = getattr(self._local, "records", None)
        if found is not None:
            return found[1]
        path = self.records
        opened = sqlite3.connect(path, timeout=60, check_same_thread=False, factory=_Records)
        opened.text_factory = bytes  # a damaged text must not fail to be read
        try:
            opened.execute("PRAGMA journal_mode = WAL")
            opened.execute("PRAGMA synchronous = NORMAL")
            opened.execute(_SCHEMA)
        except sqlite3.Error:
            opened.close()
            raise
        self._local.records = (path, opened)
        return opened


class _Records(sqlite3.Connection):
    """A connection that is closed when its thread or its store is gone, by whichever thread."""

    def __del__(self) -> None:
        self.close()


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """It is no database (any more), and not the disk or the rights that fail."""
    if not isinstance(error, sqlite3.OperationalError):
        return True
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) == sqlite3.SQLITE_ERROR


def _sealed(kind: str, key: str, value: bytes) -> bytes:
    """A value behind a checksum over it and its key."""
    return zlib.crc32(value, zlib.crc32(f"{kind}\0{key}".encode())).to_bytes(4, "little") + value


def _opened(kind: str, key: str, sealed: object) -> bytes | None:
    """The value behind its checksum; None when it is damaged."""
    if not isinstance(sealed, bytes) or _sealed(kind, key, sealed[4:]) != sealed:
        return None
    return sealed[4:]


@contextlib.contextmanager
def full_disk(directory: Path) -> Iterator[None]:
    """Turn what the operating system or SQLite says of a full or forbidden disk into an error."""
    try:
        yield
    except OSError as error:
        raise ToolError(
            f"cannot write: {error.strerror or error}",
            where=str(error.filename or directory),
            fix="free space or change the rights there, or name another place (--store DIR, -o DIR)",
        ) from error
    except sqlite3.OperationalError as error:
        raise ToolError(
            f"cannot write the store's records: {error}",
            where=str(directory / "records.sqlite"),
            fix="free space or change the rights there, or name another store: --store DIR",
        ) from error
