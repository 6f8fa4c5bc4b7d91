"""The content-addressed cache on disk: files by SHA-256, and small records in SQLite.

Safe to delete at any time, safe to share between processes: files are written beside and renamed,
records are committed by SQLite. What was damaged is never served: files are checked by their names,
records by a checksum; a damaged entry is dropped, added to `Store.damage_log`, and made or fetched again.

    STORE/files/ab/abcdef…     one file's bytes, named by their SHA-256
    STORE/records-1.0.sqlite   (kind, key) → bytes: facts, indices, states of builds; the last
                               number counts up when a file of records was too damaged to be used
    STORE/trees/KEY/           unpacked trees of tools
    STORE/kernels/KEY/         a kernel's source, or the objects compiled of it
    STORE/partial/             downloads to be resumed, and work in progress
    STORE/turns                locked by those whose work others wait for
"""

import contextlib
import fcntl
import grp
import hashlib
import mmap
import os
import pwd
import shutil
import stat
import struct
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.cache.records import Records
from minbuild.cache.unpacked_contents import UnpackedContents
from minbuild.errors import ToolError
from minbuild.file_io import hash_file, translate_disk_errors

if TYPE_CHECKING:
    from minbuild.cache.remote import RemoteStore

SLOTS = 1024
"""What forked processes can tell each other: a later digest takes the place of an earlier one."""
DIGEST_SIZE = 32
"""Bytes of a SHA-256."""


class VerifiedDigests:
    """Digests of contents that need no second look; safe to use from several threads."""

    def __init__(self) -> None:
        """Know none."""
        self._digests: set[str] = set()
        self._shared: mmap.mmap | None = None

    def share_with_forks(self) -> None:
        """Let processes that are forked from now on know what each of them finds."""

        if self._shared is None:
            self._shared = mmap.mmap(-1, SLOTS * DIGEST_SIZE)

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._digests or (
            self._shared is not None and self._shared[_locate_slot(sha256)] == bytes.fromhex(sha256)
        )

    def add(self, sha256: str) -> None:
        """Count these bytes as sound.

        Two processes may write in one place at once: what then stands there is no one's digest.
        """
        self._digests.add(sha256)
        if self._shared is not None:
            self._shared[_locate_slot(sha256)] = bytes.fromhex(sha256)

    def discard(self, sha256: str) -> None:
        """Have these bytes looked at again, here and by those who have not used them yet."""
        self._digests.discard(sha256)
        if self._shared is not None and sha256 in self:
            self._shared[_locate_slot(sha256)] = bytes(DIGEST_SIZE)


def _locate_slot(sha256: str) -> slice:
    start = int(sha256[:8], 16) % SLOTS * DIGEST_SIZE
    return slice(start, start + DIGEST_SIZE)


SYSTEM_DIRECTORIES = frozenset(
    [
        "/",
        "/dev",
        "/dev/shm",
        "/home",
        "/mnt",
        "/opt",
        "/root",
        "/run",
        "/run/user",
        "/srv",
        "/tmp",
        "/var",
        "/var/cache",
        "/var/lib",
        "/var/tmp",
    ]
)
"""Root's on every machine, so also where a user namespace cannot tell. Source: FHS 3.0."""


def require_private(directory: Path) -> None:
    """Refuse a directory that another user can write, or that lies in one.

    Every part of the path counts, with the links that lead there; a parent with the sticky bit
    (/tmp) is safe, since nobody else can move what lies in it. The group that is the user's own
    is the user.
    Raises: ToolError.
    """
    own_users = {0, os.geteuid()}
    unknown_user = _find_unmapped_user()
    for path in _list_ancestors(directory.absolute()):
        status = path.lstat()
        is_root_unmapped = status.st_uid == unknown_user and str(path) in SYSTEM_DIRECTORIES
        if status.st_uid not in own_users and not is_root_unmapped:
            owner = f"belongs to the user {_name_user(status.st_uid)}"
            if status.st_uid == unknown_user:
                owner = "belongs to a user whom this user namespace does not know"
            raise _describe_exposure(directory, path, owner, "")
        if stat.S_ISLNK(status.st_mode):
            continue
        foreign_bits = stat.S_IWOTH if _is_own_group(status.st_gid) else stat.S_IWOTH | stat.S_IWGRP
        is_parent = path not in {directory.absolute(), directory.resolve()}
        if status.st_mode & foreign_bits and not (is_parent and status.st_mode & stat.S_ISVTX):
            fix = f"chmod go-w {path}, or "
            raise _describe_exposure(directory, path, "may be written by other users", fix)


def _find_unmapped_user() -> int | None:
    """The number that stands for every user whom a user namespace does not know.

    None where root is known: then each number is a user's own.
    Source: user_namespaces(7), "Unmapped user and group IDs".
    """
    try:
        rows = Path("/proc/self/uid_map").read_text("ascii").split("\n")
        if any(row.split()[1:] == ["0", "4294967295"] for row in rows):
            return None
        return int(Path("/proc/sys/kernel/overflowuid").read_text("ascii"))
    except (OSError, ValueError):
        return None


def _list_ancestors(directory: Path) -> list[Path]:
    """A path and every directory above it, as it is written and as its links lead."""
    real = directory.resolve()
    return list(dict.fromkeys([real, *real.parents, directory, *directory.parents]))


def _is_own_group(number: int) -> bool:
    """Whether a group is the user's own: of the same name, and nobody else is in it."""
    if number == 0:
        return True
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _name_user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _describe_exposure(directory: Path, exposed: Path, reason: str, fix: str) -> ToolError:
    subject = "the store" if exposed == directory else f"the store lies in {exposed}, which"
    return ToolError(
        f"{subject} {reason}: they could change what a build runs",
        where=str(directory),
        fix=f"{fix}use a directory of your own: --store DIR, or MINBUILD_STORE=DIR",
    )


class CacheCorrupted(ToolError):
    """The store lacks what it had, or had it damaged: the same command, run again, makes it anew."""


class Store(Records):
    """One store directory: its files, and its records; safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        """Open the store, made when it is not there.

        Raises: ToolError when the directory cannot be made or written.
        """
        super().__init__(directory)
        self.verified = VerifiedDigests()
        self.remote: RemoteStore | None = None
        """A store that several machines share, asked before mirrors are."""
        self.lost_packages: set[str] = set()
        """Digests of packages that this run needed and did not find, though it knows their facts."""
        with translate_disk_errors(self.directory):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_private(self.directory)
            for name in ("files", "kernels", "partial", "trees"):
                self._make_private(self.directory / name)
        self._query(lambda records: None)

    @cached_property
    def unpacked(self) -> UnpackedContents:
        """What this run has unpacked of packages, for the pass that takes files from them."""
        with translate_disk_errors(self.directory):
            return UnpackedContents(self.directory / "partial")

    def close(self) -> None:
        """Close the records of every thread, and remove what the run has unpacked."""
        super().close()
        if "unpacked" in self.__dict__:
            self.unpacked.remove()
            del self.__dict__["unpacked"]

    def _make_private(self, directory: Path) -> None:
        """A directory that the user alone may read: what a manifest renders may be secret."""
        directory.mkdir(mode=0o700, exist_ok=True)
        require_private(directory)
        if directory.stat().st_mode & 0o077:
            directory.chmod(0o700)

    def path(self, sha256: str) -> Path | None:
        """Return the path of the file with this digest; None when there is none."""
        path = self._locate(sha256)
        return path if path.exists() else None

    def read(self, sha256: str) -> bytes | None:
        """The bytes with this digest, checked again; None when they are not here or damaged.

        A damaged file is removed, so that it is fetched or made again.
        """
        try:
            data = self._locate(sha256).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
        self._discard_damaged(sha256)
        return None

    def require(self, sha256: str) -> bytes:
        """The bytes with this digest, which must be here.

        Raises: CacheCorrupted.
        """
        data = self.read(sha256)
        if data is None:
            raise CacheCorrupted(
                "the store lost a file, or it was damaged there",
                where=f"{self.directory}: {sha256}",
                fix="run the same command again; the file is fetched or made anew",
            )
        return data

    def find_verified(self, sha256: str) -> Path | None:
        """Return the path of the file with this digest, verified once a run; None as for `read`."""
        path = self.path(sha256)
        if path is None or sha256 in self.verified:
            return path
        try:
            actual = hash_file(path)
        except FileNotFoundError:
            return None
        if actual != sha256:
            self._discard_damaged(sha256)
            return None
        self.verified.add(sha256)
        return path

    def add(self, data: bytes) -> str:
        """Keep bytes; returns their SHA-256. Written whole or not at all."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._locate(sha256)
        if not path.exists():
            with translate_disk_errors(self.directory), self.create_temp_dir() as temporary:
                (temporary / "file").write_bytes(data)
                self._rename(temporary / "file", path)
        return sha256

    def adopt(self, path: Path, sha256: str) -> Path:
        """Move a file that the caller has checked into the store; returns its place there."""
        target = self._locate(sha256)
        with translate_disk_errors(self.directory):
            self._rename(path, target)
        self.verified.add(sha256)
        return target

    def discard(self, sha256: str) -> None:
        """Remove the bytes with this digest, if they are here."""
        self.verified.discard(sha256)
        self._locate(sha256).unlink(missing_ok=True)

    def _discard_damaged(self, sha256: str) -> None:
        self.damage_log.append(f"file {sha256}")
        self.discard(sha256)

    @contextlib.contextmanager
    def create_temp_dir(self) -> Iterator[Path]:
        """A directory on the store's file system, removed at the end."""
        with translate_disk_errors(self.directory):
            path = Path(tempfile.mkdtemp(prefix="work-", dir=self.directory / "partial"))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def partial_path(self, key: str) -> Path:
        """Where a download named by its digest grows, to be resumed and then adopted."""
        return self.directory / "partial" / key

    def tree_path(self, key: str) -> Path:
        """Where an unpacked tree with this key lies or will lie (the caller renames it there)."""
        return self.directory / "trees" / key

    def kernel_path(self, key: str) -> Path:
        """Where a kernel's source or object tree with this key lies or will lie."""
        return self.directory / "kernels" / key

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Wait until no other thread or process has the turn of `key`, and take it.

        What it was for may have been done meanwhile: look again.
        Source: fcntl(2), open file description locks.
        """
        start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "little")
        with translate_disk_errors(self.directory):
            descriptor = os.open(
                self.directory / "turns", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
            )
        try:
            flock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0)
            with contextlib.suppress(OSError):  # without locks work may be done twice, as well
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW, flock)
            yield
        finally:
            os.close(descriptor)

    def _locate(self, sha256: str) -> Path:
        return self.directory / "files" / sha256[:2] / sha256

    def _rename(self, source: Path, target: Path) -> None:
        target.parent.mkdir(exist_ok=True)
        source.chmod(0o444)
        os.replace(source, target)
