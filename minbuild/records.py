"""Small records in SQLite: (kind, key) → bytes, each behind a checksum.

Records are committed by SQLite, so processes may share them. A damaged record is dropped; a file of
records too damaged to be used is left for a new one, whose number is one higher.
"""

import contextlib
import os
import sqlite3
import threading
import weakref
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


class Records:
    """The records of one directory, which is there; safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        """Know where they are: they are opened, or made, when they are first asked."""
        self.directory = directory.absolute()
        self._local = threading.local()
        self._opened: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self.wounds: list[str] = []
        """Entries that were found damaged and dropped, for people."""

    def rest(self) -> None:
        """Close this thread's records until they are asked again: before a fork they must be."""
        opened: tuple[Path, sqlite3.Connection] | None = getattr(self._local, "records", None)
        self._local.records = None
        if opened is not None:
            opened[1].close()

    def close(self) -> None:
        """Close the records of every thread; none of them may be asking."""
        self.rest()
        for opened in list(self._opened):
            opened.close()

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

    def _records(self) -> sqlite3.Connection:
        found: tuple[Path, sqlite3.Connection] | None = getattr(self._local, "records", None)
        if found is not None:
            return found[1]
        path = self.records
        _make_private(path)
        opened = sqlite3.connect(path, timeout=60, check_same_thread=False, factory=_Connection)
        opened.text_factory = bytes  # a damaged text must not fail to be read
        try:
            opened.execute("PRAGMA journal_mode = WAL")
            opened.execute("PRAGMA synchronous = NORMAL")
            opened.execute(_SCHEMA)
        except sqlite3.Error:
            opened.close()
            raise
        self._local.records = (path, opened)
        self._opened.add(opened)
        return opened


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
