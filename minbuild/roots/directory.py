"""A root in a directory of the build machine."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.formats.elf_file import Bytes
from minbuild.formats.root_entry import FileType, RootEntry, resolve_usrmerge
from minbuild.parallel import open_threads
from minbuild.paths import escape_name

_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
"""A root that changes under us must not lead out of itself."""
_MAX_PATH = 2048
"""Characters of a path below the top that one system call surely takes."""
_READ_THREADS, _CHUNK = 8, 2048
"""A disk answers many questions sooner than one by one."""
_FILE_TYPES = {
    stat.S_IFREG: FileType.FILE,
    stat.S_IFLNK: FileType.LINK,
    stat.S_IFDIR: FileType.DIRECTORY,
}


class Directory:
    """Reads a root below a directory; no link in it is followed."""

    def __init__(self, top: Path, *, skip: Sequence[str] = ()) -> None:
        """`leave`: directories like /tmp whose content is left out."""
        self.top = top
        self._start = str(top)
        self.skipped_mounts: set[str] = set()
        """Directories, relative to the top, whose content `walk` met and left out: mounts."""
        self._skip = frozenset(path.strip("/") for path in skip)

    @property
    def name(self) -> str:
        return str(self.top)

    @property
    def top_status(self) -> tuple[int, int, int]:
        """Mode, user and group of the top itself. Raises: ToolError."""
        try:
            status = self.top.stat()
        except OSError as error:
            raise self._unreadable_error(error, "") from error
        return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid

    def walk(self) -> Iterator[RootEntry]:
        """Every path in the order of names; nothing below what is mounted on the root.

        Raises: ToolError when a directory cannot be read.
        """
        first_names: dict[tuple[int, int], str] = {}
        mount_points = _find_mount_points(self.top)
        todo = [self._list_directory("")]
        while todo:
            native_path = next(todo[-1], None)
            if native_path is None:
                todo.pop()
                continue
            try:
                entry = self._read_entry(native_path, first_names)
            except FileNotFoundError:
                continue  # a running root: it went since it was listed
            except OSError as error:
                raise self._unreadable_error(error, native_path) from error
            if native_path in mount_points and entry.kind is FileType.DIRECTORY:
                self.skipped_mounts.add(native_path)
            elif entry.kind is FileType.DIRECTORY and native_path not in self._skip:
                todo.append(self._list_directory(native_path))
            yield entry

    def read(self, native_path: str) -> bytes:
        """The bytes of a file. Raises: ToolError when it cannot be read."""
        try:
            with os.fdopen(self._open(native_path), "rb") as file:
                return file.read()
        except OSError as error:
            raise self._unreadable_error(error, native_path) from error

    def read_heads(self, native_paths: Sequence[str], size: int) -> Iterator[tuple[str, bytes]]:
        """The first bytes of many files; none of one that went since it was listed.

        Raises: ToolError when one cannot be read.
        """

        def read_chunk(chunk: Sequence[str]) -> list[tuple[str, bytes]]:
            return [(native_path, self._read_head(native_path, size)) for native_path in chunk]

        chunks = [native_paths[at : at + _CHUNK] for at in range(0, len(native_paths), _CHUNK)]
        with open_threads(_READ_THREADS) as pool:
            for heads in pool.map(read_chunk, chunks):
                yield from heads

    def _read_head(self, native_path: str, size: int) -> bytes:
        try:
            handle = self._open(native_path)
            try:
                return os.read(handle, size)
            finally:
                os.close(handle)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._unreadable_error(error, native_path) from error

    def view(self, native_path: str) -> Bytes:
        """The bytes of a file, mapped. Raises: ToolError when it cannot be read."""
        try:
            handle = self._open(native_path)
            try:
                return mmap(handle, 0, access=ACCESS_READ) if os.fstat(handle).st_size else b""
            finally:
                os.close(handle)
        except OSError as error:
            raise self._unreadable_error(error, native_path) from error

    def _list_directory(self, native_path: str) -> Iterator[str]:
        """What a directory holds, sorted by name."""
        try:
            handle = self._open(native_path, os.O_DIRECTORY)
            try:
                names = sorted(os.listdir(handle), key=os.fsencode)  # noqa: PTH208 - by its descriptor
            finally:
                os.close(handle)
        except FileNotFoundError as error:
            if native_path:
                return iter(())
            raise self._unreadable_error(error, native_path) from error
        except OSError as error:
            raise self._unreadable_error(error, native_path) from error
        start = f"{native_path}/" if native_path else ""
        return (start + name for name in names)

    def _open(self, native_path: str, flags: int = 0) -> int:
        """Open a path of any length; a link at its end is not followed."""
        if len(native_path) < _MAX_PATH:
            return os.open(f"{self._start}/{native_path}", _OPEN_FLAGS | flags)
        with self._open_parent(native_path) as (parent, name):
            return os.open(name, _OPEN_FLAGS | flags, dir_fd=parent)

    @contextlib.contextmanager
    def _open_parent(self, native_path: str) -> Iterator[tuple[int, str]]:
        """The directory of a path that is longer than what one system call takes, and its name."""
        *above, name = native_path.split("/")
        descriptor = os.open(self.top, _OPEN_FLAGS | os.O_DIRECTORY)
        try:
            for part in above:
                child = os.open(part, _OPEN_FLAGS | os.O_DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = child
            yield descriptor, name
        finally:
            os.close(descriptor)

    def _read_entry(self, native_path: str, first_names: dict[tuple[int, int], str]) -> RootEntry:
        if len(native_path) < _MAX_PATH:
            return self._stat_entry(native_path, f"{self._start}/{native_path}", None, first_names)
        with self._open_parent(native_path) as (parent, name):
            return self._stat_entry(native_path, name, parent, first_names)

    def _stat_entry(
        self,
        native_path: str,
        name: str,
        parent: int | None,
        first_names: dict[tuple[int, int], str],
    ) -> RootEntry:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        kind = _FILE_TYPES.get(stat.S_IFMT(status.st_mode), FileType.OTHER)
        target, capability = "", b""
        if kind is FileType.LINK:
            target = escape_name(os.readlink(name, dir_fd=parent))
        elif kind is FileType.OTHER:
            target = _format_device(status)
        elif kind is FileType.FILE:
            first = native_path
            if status.st_nlink > 1:
                first = first_names.setdefault((status.st_dev, status.st_ino), native_path)
            if first != native_path:
                kind, target = FileType.HARDLINK, first
            capability = _read_capability(f"/proc/self/fd/{parent}/{name}" if parent else name)
        return RootEntry(
            path=resolve_usrmerge(escape_name(native_path), kind),
            native_path=native_path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode) if kind is not FileType.LINK else 0o777,
            uid=status.st_uid,
            gid=status.st_gid,
            size=status.st_size if kind in (FileType.FILE, FileType.HARDLINK) else 0,
            target=target,
            capability=capability,
        )

    def _unreadable_error(self, error: OSError, native_path: str) -> ToolError:
        return ToolError(
            f"the root cannot be read: {error.strerror}",
            where=f"{self.top}/{escape_name(native_path)}",
            fix="name the top of a root that you may read; some files only root may read: sudo",
        )


def _format_device(status: os.stat_result) -> str:
    """A device node's type and numbers, as ls(1) has them: `c 1:3`."""
    letter = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(status.st_mode))
    return f"{letter} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if letter else ""


def _read_capability(path: str) -> bytes:
    with contextlib.suppress(OSError):
        return os.getxattr(path, "security.capability", follow_symlinks=False)
    return b""


def _find_mount_points(top: Path) -> frozenset[str]:
    """What is mounted below `top`, relative to it. Source: proc_pid_mountinfo(5).

    A device's number does not tell: a bind mount may be of the same file system.
    """
    start = str(top.resolve()).rstrip("/") + "/"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    paths = (_unescape(line.split(" ")[4]) for line in lines)
    return frozenset(path.removeprefix(start) for path in paths if path.startswith(start))


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
