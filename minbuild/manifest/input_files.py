"""What was read to make a manifest, with digests: so a caller can tell that nothing changed."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from minbuild.data import data_directory
from minbuild.manifest.document.problems import Problems, suggest
from minbuild.manifest.model import Location

TRUSTED_KEY = "trusted"
"""The config file's list of directories whose manifests are the user's own."""
TRUST_FIX = f'list the manifest\'s directory in the config file: {TRUSTED_KEY} = ["DIR"]'


@dataclass(frozen=True, slots=True)
class Trust:
    """What the user lets manifests do."""

    directories: tuple[Path, ...] = ()
    """Manifests below them may do all that the user may."""
    extra_paths: tuple[Path, ...] = ()
    """Files and directories beside a manifest's own tree that it may read."""
    allows_code: bool = False
    """True: a manifest may name what runs on this machine: modules, elements, tools, keys."""

    def grant(self, manifest: Path, components: tuple[Path, ...] = ()) -> "Permissions":
        """What one manifest may reach; `components` are directories that the user named."""
        resolved = manifest.absolute().resolve()
        trusted = {
            data_directory("manifests").resolve(),
            *(path.resolve() for path in self.directories),
        }
        if any(resolved.is_relative_to(directory) for directory in trusted):
            return Permissions(allows_code=True)
        top = find_own_tree(resolved)
        allowed = (*components, *self.extra_paths)
        return Permissions(
            (top, data_directory("manifests").resolve(), *(one.resolve() for one in allowed)),
            self.allows_code,
        )


@dataclass(frozen=True, slots=True)
class Permissions:
    """What one manifest may reach."""

    directories: tuple[Path, ...] = ()
    """Resolved; the manifest's own tree first. () for the whole machine."""
    allows_code: bool = False

    def can_read(self, path: Path) -> bool:
        """Whether a file, its links followed, lies where the manifest may read."""
        if not self.directories:
            return True
        resolved = path.absolute().resolve()
        return any(resolved.is_relative_to(directory) for directory in self.directories)


NO_TRUST = Trust()
"""A manifest of nobody knows whom: its own tree, and no code."""
FULL_ACCESS = Permissions(allows_code=True)
"""What files of minbuild's own may reach."""


def find_own_tree(manifest: Path) -> Path:
    """The directory that a manifest's own files lie in: its checkout, or else its directory.

    A checkout that holds the user's home directory is none: `git init` there is common.
    """
    home = _resolve_home()
    for directory in manifest.parents:
        if (directory / ".git").exists():
            return manifest.parent if home.is_relative_to(directory) else directory
    return manifest.parent


def _resolve_home() -> Path:
    try:
        return Path.home().resolve()
    except RuntimeError:  # no HOME and no entry in the user database
        return Path("/")


MAX_INPUT_SIZE = 1 << 30
"""Bytes of the largest file that a manifest may take."""


class InputFiles:
    """Reads files of the build machine and remembers each one's SHA-256."""

    def __init__(self, problems: Problems, permissions: Permissions = FULL_ACCESS) -> None:
        self.problems = problems
        self.permissions = permissions
        self._digests: dict[str, str] = {}

    def read(self, path: Path, where: Location | str = "") -> bytes | None:
        """The file's bytes; None when it is not there, or cannot be read (a problem at `where`)."""
        return self._read_file(path, where) if self.can_read(path, where) else None

    def record_certificate(self, path: Path, where: Location) -> None:
        """Note a file that is only verified with: it may lie anywhere, no image holds it."""
        self._report_missing(path, where, self._read_file(path, where))

    def can_read(self, path: Path, where: Location | str) -> bool:
        """Whether the manifest may read a file or directory; a problem at `where` when not."""
        if self.permissions.can_read(path):
            return True
        message = f"{display_path(path)} lies outside of the manifest's own tree {self.permissions.directories[0]}"
        if path.is_symlink():
            message = f"{display_path(path)} is a link to {path.resolve()}, outside of the manifest's own tree"
        self.problems.add(
            message, where, f"copy it there, allow it: --allow-outside PATH, or {TRUST_FIX}"
        )
        return False

    def require_code_permission(self, action: str, where: Location) -> None:
        """Add a problem unless the manifest may name code that runs on this machine."""
        if not self.permissions.allows_code:
            message = f"{action}, and nobody has said that this manifest is trusted with that"
            self.problems.add(message, where, f"allow it: --allow-code, or {TRUST_FIX}")

    def _read_file(self, path: Path, where: Location | str) -> bytes | None:
        key = str(path.absolute())
        try:
            data = (
                path.read_bytes() if self.permissions is FULL_ACCESS else _read_regular_bytes(path)
            )
        except (FileNotFoundError, NotADirectoryError):
            self._digests[key] = ""
            return None
        except OSError as error:
            message = f"{display_path(path)} cannot be read: {error.strerror}"
            self.problems.add(message, where, "name a file that you may read")
            return None
        self._digests[key] = hashlib.sha256(data).hexdigest()
        return data

    def require(self, path: Path, where: Location) -> bytes | None:
        """The file's bytes; a problem at `where` when it is not there, with the nearest name."""
        return self._report_missing(path, where, self.read(path, where))

    def _report_missing(self, path: Path, where: Location, data: bytes | None) -> bytes | None:
        if data is None and self._digests.get(str(path.absolute())) == "":
            fix = suggest(path.name, _list_siblings(path), otherwise=f"write {display_path(path)}")
            self.problems.add(f"there is no file {display_path(path)}", where, fix)
        return data

    @property
    def digests(self) -> dict[str, str]:
        """Absolute path → SHA-256, or "" where no file was; sorted."""
        return dict(sorted(self._digests.items()))


def display_path(path: Path) -> str:
    """A path as errors name it: relative when it lies below the current directory."""
    if not path.is_absolute():
        return str(path)
    current = Path.cwd()
    return str(path.relative_to(current) if path.is_relative_to(current) else path)


def _read_regular_bytes(path: Path) -> bytes:
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
        if status.st_size > MAX_INPUT_SIZE:
            raise OSError(0, f"it is larger than {MAX_INPUT_SIZE} bytes")
        return file.read()


def _list_siblings(path: Path) -> list[str]:
    """Names of the files in the directory where `path` should be; none if there are very many."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []
    return names if len(names) < 1000 else []
