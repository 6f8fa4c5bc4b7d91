"""A root that lies in a directory of the build machine."""

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

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
"""A root that changes under us must not lead out of itself."""
_READERS, _CHUNK = 8, 2048
"""A disk answers many questions sooner than one by one."""
_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFLNK: Kind.LINK, stat.S_IFDIR: Kind.DIRECTORY}


class Directory:
    """Reads a root below a directory; no link in it is followed."""

    def __init__(self, top: Path, *, leave: Sequence[str] = ()) -> None:
        """`leave`: directories like /tmp whose content is left out."""
        self.top = top
        self._start = str(top)
        self._leave = frozenset(each.strip("/") for each in leave)

    @property
    def name(self) -> str:
        return str(self.top)

    def walk(self) -> Iterator[Found]:
        """Every path, sorted within each directory; nothing below what is mounted on the root.

        Raises: ToolError when a directory cannot be read.
        """
        names: dict[tuple[int, int], str] = {}
        left_out = _mounted(self.top) | self._leave
        todo = [""]
        while todo:
            at = todo.pop()
            for entry in self._listed(at):
                raw = f"{at}/{entry.name}" if at else entry.name
                try:
                    status = entry.stat(follow_symlinks=False)
                    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
                    found = self._found(raw, kind, status, names) if kind else None
                except FileNotFoundError:
                    continue  # a running root: it went since it was listed
                if kind is Kind.DIRECTORY and raw not in left_out:
                    todo.append(raw)
                if found is not None:
                    yield found

    def read(self, raw: str) -> bytes:
        """The bytes of a file. Raises: ToolError when it cannot be read."""
        try:
            handle = os.open(self.top / raw, _READ)
            with os.fdopen(handle, "rb") as file:
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
            handle = os.open(f"{self._start}/{raw}", _READ)
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
            handle = os.open(self.top / raw, _READ)
            try:
                return mmap(handle, 0, access=ACCESS_READ) if os.fstat(handle).st_size else b""
            finally:
                os.close(handle)
        except OSError as error:
            raise self._unreadable(error, raw) from error

    def _listed(self, raw: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.top / raw) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError as error:
            if raw:
                return []
            raise self._unreadable(error, raw) from error
        except OSError as error:
            raise self._unreadable(error, raw) from error

    def _found(
        self, raw: str, kind: Kind, status: os.stat_result, names: dict[tuple[int, int], str]
    ) -> Found:
        target = ""
        if kind is Kind.LINK:
            target = str((self.top / raw).readlink())
        elif kind is Kind.FILE and status.st_nlink > 1:
            first = names.setdefault((status.st_dev, status.st_ino), raw)
            if first != raw:
                kind, target = Kind.HARDLINK, first
        return Found(
            path=place(raw, kind),
            raw=raw,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode) if kind is not Kind.LINK else 0o777,
            uid=status.st_uid,
            gid=status.st_gid,
            size=status.st_size if kind in (Kind.FILE, Kind.HARDLINK) else 0,
            target=target,
        )

    def _unreadable(self, error: OSError, raw: str) -> ToolError:
        return ToolError(
            f"the root cannot be read: {error.strerror}",
            where=str(self.top / raw),
            fix="name the top of a root that you may read; some files only root may read: sudo",
        )


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
