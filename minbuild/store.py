"""The content-addressed cache on disk: files by SHA-256, and small records in SQLite.

Safe to delete at any time, safe to share between processes: files are written beside and renamed,
records are committed by SQLite.

    STORE/files/ab/abcdef…     one file's bytes, named by their SHA-256
    STORE/records.sqlite       (kind, key) → bytes: facts, indices, states of builds
    STORE/trees/KEY/           unpacked trees of tools
    STORE/partial/             downloads to be resumed, and work in progress
"""

import contextlib
import hashlib
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from minbuild.errors import ToolError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (kind TEXT, key TEXT, value BLOB, PRIMARY KEY (kind, key))
WITHOUT ROWID
"""


class Store:
    """One store directory; safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        """Open the store, made when it is not there.

        Raises: ToolError when the directory cannot be made or written.
        """
        self.directory = directory.absolute()
        self._local = threading.local()
        with full_disk(self.directory):
            for name in ("files", "partial", "trees"):
                (self.directory / name).mkdir(parents=True, exist_ok=True)
            self._records()

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
        self.forget(sha256)
        return None

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
        return place

    def forget(self, sha256: str) -> None:
        """Remove the bytes with this digest, if they are here."""
        self._place(sha256).unlink(missing_ok=True)

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

    def get(self, kind: str, key: str) -> bytes | None:
        """One record's value; None when there is none."""
        row = (
            self._records()
            .execute("SELECT value FROM record WHERE kind = ? AND key = ?", (kind, key))
            .fetchone()
        )
        return None if row is None else bytes(row[0])

    def get_all(self, kind: str, prefix: str) -> dict[str, bytes]:
        """Every record whose key starts with `prefix`, sorted by key."""
        rows = self._records().execute(
            "SELECT key, value FROM record WHERE kind = ? AND key >= ? AND key < ? ORDER BY key",
            (kind, prefix, prefix + "\U0010ffff"),
        )
        return {key: bytes(value) for key, value in rows}

    def put(self, kind: str, rows: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> None:
        """Keep records, all or none of them; a record that is there is replaced."""
        pairs = rows.items() if isinstance(rows, Mapping) else rows
        with full_disk(self.directory), self._records() as records:
            records.executemany(
                "INSERT OR REPLACE INTO record (kind, key, value) VALUES (?, ?, ?)",
                ((kind, key, value) for key, value in pairs),
            )

    def _place(self, sha256: str) -> Path:
        return self.directory / "files" / sha256[:2] / sha256

    def _rename(self, source: Path, place: Path) -> None:
        place.parent.mkdir(exist_ok=True)
        source.chmod(0o444)
        os.replace(source, place)

    def _records(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "records", None)
        if found is not None:
            return found
        try:
            opened = sqlite3.connect(self.directory / "records.sqlite", timeout=60)
            opened.execute("PRAGMA journal_mode = WAL")
            opened.execute("PRAGMA synchronous = NORMAL")
            opened.execute(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise ToolError(
                f"the store's records cannot be used: {error}",
                where=str(self.directory / "records.sqlite"),
                fix=f"remove the store, it is only a cache: rm -r {self.directory}",
            ) from error
        self._local.records = opened
        return opened


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
