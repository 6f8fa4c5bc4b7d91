"""Contents of the packages that this run analysed, kept until it ends.

A first build analyses each package and then takes files from it. What the first pass has unpacked
is written to one file for each package, so that the second one need not unpack it again: xz takes
half of the processor time of a first build.
"""

import atexit
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_SPOOL_SIZE = 2 << 30
"""Bytes of one package's contents that are kept; the rest is unpacked again when it is needed."""
UNUSED = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/lintian/")
"""Directories whose files no image takes without being asked; a file below them is unpacked again."""
CHUNK_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """Where the content with a digest stands in a spool."""

    sha256: str
    offset: int
    size: int


class ContentSpool:
    """The spool of one package, while it is analysed; a disk that is full ends it, and nothing else."""

    def __init__(self, path: Path | None) -> None:
        """Write to `path`; nowhere when that is None."""
        self.files: list[SpooledFile] = []
        self._path = path
        self._file = path.open("wb", buffering=CHUNK_SIZE) if path is not None else None
        self._end = self._start = 0

    def write(self, data: bytes | memoryview) -> None:
        """Add a piece of the current file's content."""
        self._end += len(data)
        if self._file is not None and self._end <= MAX_SPOOL_SIZE:
            try:
                self._file.write(data)
            except OSError:
                self._give_up()

    def write_through(self, pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """Add the pieces of the current file's content while somebody reads them."""
        for piece in pieces:
            self.write(piece)
            yield piece

    def finish_file(self, sha256: str) -> None:
        """Note the content that was written since the last one."""
        if self._file is not None and self._end <= MAX_SPOOL_SIZE:
            self.files.append(SpooledFile(sha256, self._start, self._end - self._start))
        self._start = self._end

    def close(self) -> tuple[SpooledFile, ...]:
        """Close it; returns what it has."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                self._give_up()
        return tuple(self.files)

    def _give_up(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # it closes, and says once more what it cannot write
                file.close()
        self.files.clear()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class UnpackedContents:
    """All spools of a run, in a directory that goes with it."""

    def __init__(self, parent: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="work-", dir=parent))
        self._files: dict[str, tuple[Path, SpooledFile]] = {}
        self._owner = os.getpid()
        atexit.register(self.remove)

    def add(self, path: Path, files: tuple[SpooledFile, ...]) -> None:
        """Take in a finished spool."""
        self._files.update((file.sha256, (path, file)) for file in files)

    def copy(self, sha256: str, target: Path) -> bool:
        """Write the content with this digest to `target`; False when it is not here, or changed."""
        if sha256 not in self._files:
            return False
        path, file = self._files[sha256]
        digest = hashlib.sha256()
        try:
            with target.open("wb") as out:
                for piece in _read_range(path, file.offset, file.size):
                    digest.update(piece)
                    out.write(piece)
        except FileNotFoundError:
            return False
        return digest.hexdigest() == sha256

    def read(self, sha256: str) -> bytes | None:
        """The content with this digest; None when it is not here, or changed."""
        if sha256 not in self._files:
            return None
        path, file = self._files[sha256]
        try:
            data = b"".join(_read_range(path, file.offset, file.size))
        except FileNotFoundError:
            return None
        return data if hashlib.sha256(data).hexdigest() == sha256 else None

    def remove(self) -> None:
        """Remove the spools, if this process made them."""
        if os.getpid() == self._owner:
            atexit.unregister(self.remove)
            self._files.clear()
            shutil.rmtree(self.directory, ignore_errors=True)


def is_worth_keeping(path: str) -> bool:
    """True for a file that an image may take."""
    return not path.startswith(UNUSED)


def _read_range(path: Path, offset: int, size: int) -> Iterator[bytes]:
    with path.open("rb") as spool:
        spool.seek(offset)
        while size and (piece := spool.read(min(size, CHUNK_SIZE))):
            size -= len(piece)
            yield piece
