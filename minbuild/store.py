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
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from minbuild.checked import Checked
from minbuild.errors import ToolError
from minbuild.private import check_private
from minbuild.records import Records, full_disk


class Lost(ToolError):
    """The store lacks what it had, or had it damaged: the same command, run again, makes it anew."""


class Store(Records):
    """One store directory: its files, and its records; safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        """Open the store, made when it is not there.

        Raises: ToolError when the directory cannot be made or written.
        """
        super().__init__(directory)
        self.checked = Checked()
        with full_disk(self.directory):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(self.directory)
            for name in ("files", "partial", "trees"):
                self._make_private(self.directory / name)
        self._ask(lambda records: None)

    def _make_private(self, place: Path) -> None:
        """A directory that the user alone may read: what a manifest renders may be secret."""
        place.mkdir(mode=0o700, exist_ok=True)
        check_private(place)
        if place.stat().st_mode & 0o077:
            place.chmod(0o700)

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
        if path is None or sha256 in self.checked:
            return path
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None
        if found != sha256:
            self._drop(sha256)
            return None
        self.checked.add(sha256)
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
        self.checked.add(sha256)
        return place

    def forget(self, sha256: str) -> None:
        """Remove the bytes with this digest, if they are here."""
        self.checked.discard(sha256)
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

    def _place(self, sha256: str) -> Path:
        return self.directory / "files" / sha256[:2] / sha256

    def _rename(self, source: Path, place: Path) -> None:
        place.parent.mkdir(exist_ok=True)
        source.chmod(0o444)
        os.replace(source, place)
