"""A root that lies in a directory of the build machine."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from mmap import ACCESS_READ, mmap
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.facts.elftable import Bytes
from minbuild.facts.root.types import Found, place
from minbuild.facts.types import Kind
from minbuild.paths import spelled

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
"""A root that changes under us must not lead out of itself."""
_LONG = 2048
"""Characters of a path below the top that one system call surely takes."""
_READERS, _CHUNK = 8, 2048
"""A disk answers many questions sooner than one by one."""
_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFLNK: Kind.LINK, stat.S_IFDIR: Kind.DIRECTORY}


class Directory:
    """Reads a root below a directory; no link in it is followed."""

    def __init__(self, top: Path, *, leave: Sequence[str] = ()) -> None:
        """`leave`: directories like /tmp whose content is left out."""
        self.top = top
        self._start = str(top)
        self.left_out: set[str] = set()
        """Directories, relative to the top, whose content `walk` met and left out: mounts."""
        self._leave = frozenset(each.strip("/") for each in leave)

    @property
    def name(self) -> str:
        return str(self.top)

    @property
    def modes(self) -> tuple[int, int, int]:
        """Mode, user and group of the top itself. Raises: ToolError."""
        try:
            status = self.top.stat()
        except OSError as error:
            raise self._unreadable(error, "") from error
        return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid

    def walk(self) -> Iterator[Found]:
        """Every path in the order of names; nothing below what is mounted on the root.

        Raises: ToolError when a directory cannot be read.
        """
        names: dict[tuple[int, int], str] = {}
        mounted = _mounted(self.top)
        todo = [self._listed("")]
        while todo:
            raw = next(todo[-1], None)
            if raw is None:
                todo.pop()
                continue
            try:
                found = self._found(raw, names)
            except FileNotFoundError:
                continue  # a running root: it went since it was listed
            except OSError as error:
                raise self._unreadable(error, raw) from error
            if raw in mounted and found.kind is Kind.DIRECTORY:
                self.left_out.add(raw)
            elif found.kind is Kind.DIRECTORY and raw not in self._leave:
                todo.append(self._listed(raw))
            yield found

    def read(self, raw: str) -> bytes:
        """The bytes of a file. Raises: ToolError when it cannot be read."""
        try:
            with os.fdopen(self._open(raw), "rb") as file:
                return file.read()
        except OSError as error:
            raise self._unreadable(error, raw) from error

    def heads(self, raws: Sequence[str], size: int) -> Iterator[tuple[str, bytes]]:
        """The first bytes of many files; none of one that went since it was listed.

        Raises: ToolError when one cannot be read.
        """

        def read(chunk: Sequence[str]) -> list[tuple[str, bytes]]:
            return [(raw, self._head(raw, size)) for raw in chunk]

        chunks = [raws[at : at + _CHUNK] for at in range(0, len(raws), _CHUNK)]
        with ThreadPoolExecutor(_READERS) as pool:
            for found in pool.map(read, chunks):
                yield from found

    def _head(self, raw: str, size: int) -> bytes:
        try:
            handle = self._open(raw)
            try:
                return os.read(handle, size)
            finally:
                os.close(handle)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._unreadable(error, raw) from error

    def view(self, raw: str) -> Bytes:
        """The bytes of a file, mapped. Raises: ToolError when it cannot be read."""
        try:
            handle = self._open(raw)
            try:
                return mmap(handle, 0, access=ACCESS_READ) if os.fstat(handle).st_size else b""
            finally:
                os.close(handle)
        except OSError as error:
            raise self._unreadable(error, raw) from error

    def _listed(self, raw: str) -> Iterator[str]:
        """What a directory holds, sorted by name."""
        try:
            handle = self._open(raw, os.O_DIRECTORY)
            try:
                names = sorted(os.listdir(handle), key=os.fsencode)  # noqa: PTH208 - by its descriptor
            finally:
                os.close(handle)
        except FileNotFoundError as error:
            if raw:
                return iter(())
            raise self._unreadable(error, raw) from error
        except OSError as error:
            raise self._unreadable(error, raw) from error
        start = f"{raw}/" if raw else ""
        return (start + name for name in names)

    def _open(self, raw: str, flags: int = 0) -> int:
        """Open a path of any length; a link at its end is not followed."""
        if len(raw) < _LONG:
            return os.open(f"{self._start}/{raw}", _READ | flags)
        with self._parent(raw) as (parent, name):
            return os.open(name, _READ | flags, dir_fd=parent)

    @contextlib.contextmanager
    def _parent(self, raw: str) -> Iterator[tuple[int, str]]:
        """The directory of a path that is longer than what one system call takes, and its name."""
        *above, name = raw.split("/")
        at = os.open(self.top, _READ | os.O_DIRECTORY)
        try:
            for part in above:
                below = os.open(part, _READ | os.O_DIRECTORY, dir_fd=at)
                os.close(at)
                at = below
            yield at, name
        finally:
            os.close(at)

    def _found(self, raw: str, names: dict[tuple[int, int], str]) -> Found:
        if len(raw) < _LONG:
            return self._stated(raw, f"{self._start}/{raw}", None, names)
        with self._parent(raw) as (parent, name):
            return self._stated(raw, name, parent, names)

    def _stated(
        self, raw: str, at: str, parent: int | None, names: dict[tuple[int, int], str]
    ) -> Found:
        status = os.stat(at, dir_fd=parent, follow_symlinks=False)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), Kind.OTHER)
        target, capability = "", b""
        if kind is Kind.LINK:
            target = spelled(os.readlink(at, dir_fd=parent))
        elif kind is Kind.OTHER:
            target = _device(status)
        elif kind is Kind.FILE:
            first = raw
            if status.st_nlink > 1:
                first = names.setdefault((status.st_dev, status.st_ino), raw)
            if first != raw:
                kind, target = Kind.HARDLINK, first
            capability = _capability(f"/proc/self/fd/{parent}/{at}" if parent else at)
        return Found(
            path=place(spelled(raw), kind),
            raw=raw,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode) if kind is not Kind.LINK else 0o777,
            uid=status.st_uid,
            gid=status.st_gid,
            size=status.st_size if kind in (Kind.FILE, Kind.HARDLINK) else 0,
            target=target,
            capability=capability,
        )

    def _unreadable(self, error: OSError, raw: str) -> ToolError:
        return ToolError(
            f"the root cannot be read: {error.strerror}",
            where=f"{self.top}/{spelled(raw)}",
            fix="name the top of a root that you may read; some files only root may read: sudo",
        )


def _device(status: os.stat_result) -> str:
    """A device node's type and numbers, as ls(1) has them: `c 1:3`."""
    letter = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(status.st_mode))
    return f"{letter} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if letter else ""


def _capability(path: str) -> bytes:
    with contextlib.suppress(OSError):
        return os.getxattr(path, "security.capability", follow_symlinks=False)
    return b""


def _mounted(top: Path) -> frozenset[str]:
    """What is mounted below `top`, relative to it. Source: proc_pid_mountinfo(5).

    A device's number does not tell: a bind mount may be of the same file system.
    """
    start = str(top.resolve()).rstrip("/") + "/"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    places = (_unescaped(line.split(" ")[4]) for line in lines)
    return frozenset(place.removeprefix(start) for place in places if place.startswith(start))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
