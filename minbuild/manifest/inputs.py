"""What was read to make a manifest, with digests: so a caller can tell that nothing changed."""

import hashlib
import os
import stat
from pathlib import Path

from minbuild.manifest.problems import Problems, suggestion
from minbuild.manifest.trust import EVERYTHING, HOW, Reach
from minbuild.manifest.types import Where

LARGEST = 1 << 30
"""Bytes of the largest file that a manifest may take."""


class Inputs:
    """Reads files of the build machine and remembers each one's SHA-256."""

    def __init__(self, problems: Problems, reach: Reach = EVERYTHING) -> None:
        self.problems = problems
        self.reach = reach
        self._digests: dict[str, str] = {}

    def read(self, path: Path, where: Where | str = "") -> bytes | None:
        """The file's bytes; None when it is not there, or cannot be read (a problem at `where`)."""
        return self._read(path, where) if self.may_read(path, where) else None

    def certificate(self, path: Path, where: Where) -> None:
        """Note a file that is only verified with: it may lie anywhere, no image holds it."""
        self._there(path, where, self._read(path, where))

    def may_read(self, path: Path, where: Where | str) -> bool:
        """Whether the manifest may read a file or directory; a problem at `where` when not."""
        if self.reach.may_read(path):
            return True
        about = f"{shown(path)} lies outside of the manifest's own tree {self.reach.directories[0]}"
        if path.is_symlink():
            about = (
                f"{shown(path)} is a link to {path.resolve()}, outside of the manifest's own tree"
            )
        self.problems.add(about, where, f"copy it there, allow it: --allow-outside PATH, or {HOW}")
        return False

    def may_run(self, what: str, where: Where) -> None:
        """Add a problem unless the manifest may name code that runs on this machine."""
        if not self.reach.code:
            about = f"{what}, and nobody has said that this manifest is trusted with that"
            self.problems.add(about, where, f"allow it: --allow-code, or {HOW}")

    def _read(self, path: Path, where: Where | str) -> bytes | None:
        key = str(path.absolute())
        try:
            data = path.read_bytes() if self.reach is EVERYTHING else _bytes_of(path)
        except (FileNotFoundError, NotADirectoryError):
            self._digests[key] = ""
            return None
        except OSError as error:
            about = f"{shown(path)} cannot be read: {error.strerror}"
            self.problems.add(about, where, "name a file that you may read")
            return None
        self._digests[key] = hashlib.sha256(data).hexdigest()
        return data

    def wanted(self, path: Path, where: Where) -> bytes | None:
        """The file's bytes; a problem at `where` when it is not there, with the nearest name."""
        return self._there(path, where, self.read(path, where))

    def _there(self, path: Path, where: Where, data: bytes | None) -> bytes | None:
        if data is None and self._digests.get(str(path.absolute())) == "":
            fix = suggestion(path.name, _beside(path), otherwise=f"write {shown(path)}")
            self.problems.add(f"there is no file {shown(path)}", where, fix)
        return data

    @property
    def digests(self) -> dict[str, str]:
        """Absolute path → SHA-256, or "" where no file was; sorted."""
        return dict(sorted(self._digests.items()))


def shown(path: Path) -> str:
    """A path as errors name it: relative when it lies below the current directory."""
    if not path.is_absolute():
        return str(path)
    current = Path.cwd()
    return str(path.relative_to(current) if path.is_relative_to(current) else path)


def _bytes_of(path: Path) -> bytes:
    """The bytes of a regular file: a pipe or a device would give no end of them.

    Raises: OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(0, "Is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "it is no regular file")
        if status.st_size > LARGEST:
            raise OSError(0, f"it is larger than {LARGEST} bytes")
        return file.read()


def _beside(path: Path) -> list[str]:
    """Names of the files in the directory where `path` should be; none if there are very many."""
    try:
        found = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []
    return found if len(found) < 1000 else []
