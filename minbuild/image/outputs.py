"""How outputs appear: whole or not at all, whatever ends the build.

The new directory is made beside the old one and both change places in one moment. Where that cannot
be, the outputs move into the old one, one after the other, SHA256SUMS last.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.image import exchange
from minbuild.image.exchange import PREFIX
from minbuild.records import full_disk

SUMS = "SHA256SUMS"


class Outputs:
    """Files that are made beside their places and take them together."""

    def __init__(self, directory: Path, staging: Path) -> None:
        """Use `open_outputs`."""
        self.directory = directory
        self.work = staging / "work"
        """A directory for what is needed on the way; it is gone afterwards."""
        self.new = staging / "new"
        """What the directory of outputs will be."""
        self.work.mkdir()
        self.new.mkdir()

    def place(self, name: str) -> Path:
        """Where the output `name` is to be written."""
        return self.new / name

    def publish(self) -> tuple[Path, ...]:
        """Put every output in its place; those that were there are replaced, others stay.

        All is on the disk before anything moves, and an interrupt waits until all has.
        """
        made = sorted(path for path in self.new.rglob("*") if path.is_file())
        for path in made:
            path.chmod(0o644)
        with ThreadPoolExecutor() as pool:  # one is read while another is written to the disk
            digests = list(pool.map(_kept, made))
        lines = zip(digests, made, strict=True)
        sums = "".join(f"{digest}  {self._name(path)}\n" for digest, path in lines)
        (self.new / SUMS).write_text(sums, encoding="ascii")
        (self.new / SUMS).chmod(0o644)
        _sync_all([self.new / SUMS], also={path.parent for path in made})
        made.append(self.new / SUMS)
        names = tuple(self._name(path) for path in made)
        with _uninterrupted(), exchange.held(self.directory):
            beside = self.new.parent.parent == self.directory.parent
            if not (beside and exchange.take_place(self.new, self.directory, frozenset(names))):
                self._one_by_one(names)
        return tuple(self.directory / name for name in names)

    def _one_by_one(self, names: Iterable[str]) -> None:
        """Move outputs to their places, SHA256SUMS last, which tells of a kill between two."""
        with _staging(self.directory) as inside:
            new = Path(shutil.move(self.new, inside / "new"))  # copied from elsewhere
            made = [new / name for name in names]
            places = [self.directory / name for name in names]
            _sync_all(made)
            for place in places:
                place.parent.mkdir(exist_ok=True)
            with _open(places):
                for path, place in zip(made, places, strict=True):
                    os.replace(path, place)
                _sync_all(places)

    def _name(self, path: Path) -> str:
        """host.efi, or host.pxe/vmlinuz in a folder."""
        return path.relative_to(self.new).as_posix()


@contextlib.contextmanager
def _open(places: Iterable[Path]) -> Iterator[None]:
    """Keep the former files open: to free their blocks takes 1,000 times as long as a rename."""
    with contextlib.ExitStack() as held:
        for place in places:
            with contextlib.suppress(OSError):
                held.enter_context(place.open("rb"))
        yield


@contextlib.contextmanager
def open_outputs(directory: Path) -> Iterator[Outputs]:
    """Make a place for outputs beside `directory`; what is not published goes away.

    What a killed build has left is removed.
    Raises: ToolError when the directory cannot be made or written.
    """
    with full_disk(directory):
        directory.mkdir(parents=True, exist_ok=True)
        real = directory.resolve()
        if not os.access(real, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(real))
        place = real.parent if exchange.may_move(real) else real
        for each in {real, place}:
            for left in each.glob(f"{PREFIX}*"):
                _remove_left(left)
    with full_disk(real), _staging(place) as staging, _outliving(staging, real):
        yield Outputs(real, staging)


@contextlib.contextmanager
def _outliving(staging: Path, directory: Path) -> Iterator[None]:
    """Keep the errors of tools from naming files that are gone when somebody reads them."""
    try:
        yield
    except ToolError as error:
        if str(staging) not in f"{error.what}{error.where}{error.fix}":
            raise
        first = error.what.partition("\n")[0]
        if _is_full(staging, error.what):
            raise ToolError(
                f"cannot write: {os.strerror(errno.ENOSPC)} ({first})",
                where=str(directory),
                fix="free space there, or name another place: -o DIR",
            ) from error
        raise ToolError(
            error.what.replace(f"{staging}/", ""),
            where=str(directory),
            fix="build again; if it ends the same way, report the lines above: what the tool worked "
            "on is removed",
        ) from error


def _is_full(directory: Path, said: str) -> bool:
    """Tell whether a tool failed for want of space; mtools and Python say it in their own words."""
    told = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "Disk full")
    return any(word in said for word in told) or os.statvfs(directory).f_bavail == 0


@contextlib.contextmanager
def _staging(place: Path) -> Iterator[Path]:
    """A directory in `place` with a lock that says it is in use; it is gone afterwards."""
    staging, lock = _locked(place)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(lock)


def _locked(place: Path) -> tuple[Path, int]:
    """A new directory and its open lock; another build may remove it before it is locked."""
    while True:
        staging = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        try:
            lock = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if staging.exists():
            return staging, lock
        os.close(lock)


def _remove_left(left: Path) -> None:
    try:
        lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if os.fstat(lock).st_uid == os.geteuid():
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


def _kept(path: Path) -> str:
    """Have a file on the disk; returns its SHA-256."""
    exchange.sync(path)
    return _sha256(path)


def _sync_all(paths: Sequence[Path], also: Set[Path] = frozenset()) -> None:
    """Have files and their directories on the disk, and other directories."""
    for path in (*paths, *sorted({path.parent for path in paths} | also)):
        exchange.sync(path)
