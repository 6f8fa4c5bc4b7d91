"""How outputs appear: whole or not at all, whatever ends the build."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from minbuild.store import full_disk

PREFIX = ".minbuild-"
SUMS = "SHA256SUMS"


class Outputs:
    """Files that are made beside their places and take them together."""

    def __init__(self, directory: Path, staging: Path) -> None:
        """Use `open_outputs`."""
        self.directory = directory
        self._staging = staging
        self.work = staging / "work"
        """A directory for what is needed on the way; it is gone afterwards."""
        self.work.mkdir()

    def place(self, name: str) -> Path:
        """Where the output `name` is to be written."""
        return self._staging / name

    def publish(self) -> tuple[Path, ...]:
        """Put every output in its place, SHA256SUMS last; those that were there are replaced.

        All is on the disk before the first one moves. An interrupt waits until the last one has; a
        kill between two of them is told by SHA256SUMS.
        """
        made = sorted(path for path in self._staging.rglob("*") if self._is_output(path))
        sums = "".join(f"{_sha256(path)}  {self._name(path)}\n" for path in made)
        (self._staging / SUMS).write_text(sums, encoding="ascii")
        made.append(self._staging / SUMS)
        for path in made:
            path.chmod(0o644)
            _sync(path)
        for place in self._places(made):
            place.parent.mkdir(exist_ok=True)
        with _uninterrupted(), _held(self._places(made)):
            for path, place in zip(made, self._places(made), strict=True):
                os.replace(path, place)
            for directory in {path.parent for path in self._places(made)}:
                _sync(directory)
        return self._places(made)

    def _places(self, made: list[Path]) -> tuple[Path, ...]:
        return tuple(self.directory / self._name(path) for path in made)

    def _is_output(self, path: Path) -> bool:
        return path.is_file() and not path.is_relative_to(self.work)

    def _name(self, path: Path) -> str:
        """host.efi, or host.pxe/vmlinuz in a folder."""
        return path.relative_to(self._staging).as_posix()


@contextlib.contextmanager
def _held(places: Iterable[Path]) -> Iterator[None]:
    """Keep the former files open: to free their blocks takes 1,000 times as long as a rename."""
    with contextlib.ExitStack() as held:
        for place in places:
            with contextlib.suppress(OSError):
                held.enter_context(place.open("rb"))
        yield


@contextlib.contextmanager
def open_outputs(directory: Path) -> Iterator[Outputs]:
    """Make a place for outputs beside those in `directory`; what is not published goes away.

    What a killed build has left is removed.
    Raises: ToolError when the directory cannot be made or written.
    """
    with full_disk(directory):
        directory.mkdir(parents=True, exist_ok=True)
        real = directory.resolve()
        staging, held = _stage(real)
    try:
        with full_disk(real):
            yield Outputs(real, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(held)


def _stage(directory: Path) -> tuple[Path, int]:
    """A staging directory and the open lock that says it is in use."""
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # one at a time: nobody removes what is made here before it is locked
        fcntl.flock(held, fcntl.LOCK_EX)
        for left in directory.glob(f"{PREFIX}*"):
            _remove_left(left)
        staging = Path(tempfile.mkdtemp(prefix=PREFIX, dir=directory))
        lock = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        os.close(held)
    return staging, lock


def _remove_left(left: Path) -> None:
    try:
        lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left, ignore_errors=True)
    except BlockingIOError:
        pass  # another build is at work in it
    finally:
        os.close(lock)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
