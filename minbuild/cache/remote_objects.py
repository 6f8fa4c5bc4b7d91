"""Objects of a shared store, by name, in a directory that several machines see.

An object is there whole or not at all, and is never replaced: its name says what it holds.
"""

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PARTIAL = "partial"
"""Directory for what is being written."""
PARTIAL_AGE = 86_400
"""Seconds after which an unfinished object is nobody's."""
Take = Callable[[str, bytes | None], None]
"""Takes a name and its bytes; None for an object that is not there."""


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """One object as a listing shows it."""

    name: str
    size: int
    modified: float
    """Seconds since 1970, by the remote's clock."""


class RemoteFailed(Exception):
    """The remote cannot be used (any more); its text says why."""


class RemoteRefused(RemoteFailed):
    """The remote does not let us write."""


class Objects(Protocol):
    """Where objects are: many are asked for at once, since each answer takes its time."""

    is_local: bool
    """True: no network is used."""

    def read(self, limits: Mapping[str, int], take: Take) -> None:
        """Give each object to `take`, in any order, no more than `limits` and one byte of it.

        Raises: RemoteFailed.
        """

    def create(self, sources: Mapping[str, Path | bytes]) -> frozenset[str]:
        """Make objects that are not there; returns the names of those that this call made.

        Raises: RemoteFailed.
        """

    def iter_objects(self, prefix: str) -> Iterator[RemoteObject]:
        """Every object below a prefix (`cas/`). Raises: RemoteFailed."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, those that are there. Raises: RemoteFailed."""


class DirectoryObjects:
    """Objects as files of a directory: on NFS, or a disk that containers share."""

    is_local = True

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()

    def read(self, limits: Mapping[str, int], take: Take) -> None:
        """See Objects."""
        for name, limit in limits.items():
            try:
                with (self.directory / name).open("rb") as file:
                    data = file.read(limit + 1)
            except (FileNotFoundError, NotADirectoryError):
                take(name, None)
            except OSError as error:
                raise RemoteFailed(f"{error}") from error
            else:
                take(name, data)

    def create(self, sources: Mapping[str, Path | bytes]) -> frozenset[str]:
        """See Objects."""
        made = set()
        try:
            for name, source in sources.items():
                data = source if isinstance(source, bytes) else source.read_bytes()
                if self._create_one(self.directory / name, data):
                    made.add(name)
        except PermissionError as error:
            raise RemoteRefused(f"{error}") from error
        except OSError as error:
            if error.errno == errno.EROFS:
                raise RemoteRefused(f"{error}") from error
            raise RemoteFailed(f"{error}") from error
        return frozenset(made)

    def _create_one(self, path: Path, data: bytes) -> bool:
        if path.exists():
            return False
        partial = self.directory / PARTIAL / uuid.uuid4().hex
        for directory in (partial.parent, path.parent):
            directory.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.chmod(0o444)
            try:
                os.link(partial, path)  # fails when it is there: the first writer wins
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}:
                    raise
                partial.replace(path)  # no links there: the same name has the same content
        finally:
            partial.unlink(missing_ok=True)
        return True

    def iter_objects(self, prefix: str) -> Iterator[RemoteObject]:
        """See Objects; what was left of writers that died a day ago is removed."""
        for path in (self.directory / PARTIAL).glob("*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > PARTIAL_AGE:
                    path.unlink()
        try:
            for path in sorted((self.directory / prefix).rglob("*")):
                status = path.lstat()
                if path.is_file() and not path.is_symlink():
                    name = path.relative_to(self.directory).as_posix()
                    yield RemoteObject(name, status.st_size, status.st_mtime)
        except OSError as error:
            raise RemoteFailed(f"{error}") from error

    def remove(self, names: Iterable[str]) -> None:
        """See Objects."""
        try:
            for name in names:
                (self.directory / name).unlink(missing_ok=True)
        except OSError as error:
            raise RemoteFailed(f"{error}") from error
