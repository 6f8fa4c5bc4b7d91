"""Input files of a manifest with their digests, and the permissions to read them."""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minbuild.data import data_directory
from minbuild.manifest.document.nodes import Problems, suggest
from minbuild.manifest.model import Location

TRUSTED_KEY = "trusted"
"""Key of the config file: directories whose manifests are trusted."""
TRUST_FIX = f'list the manifest\'s directory in the config file: {TRUSTED_KEY} = ["DIR"]'


@dataclass(frozen=True, slots=True)
class Trust:
    """Rights that the user grants to manifests."""

    directories: tuple[Path, ...] = ()
    """Manifests below them have all rights of the user."""
    extra_paths: tuple[Path, ...] = ()
    """Files and directories outside of its own tree that a manifest can read."""
    allows_code: bool = False
    """True: a manifest can run code on this machine: elements, tools, PKCS#11 modules, keys."""

    def grant(self, manifest: Path, components: tuple[Path, ...] = ()) -> "Permissions":
        """Return the permissions of one manifest; `components` are directories from the command line."""
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
            (top, data_directory("manifests").resolve(), *(path.resolve() for path in allowed)),
            self.allows_code,
        )


@dataclass(frozen=True, slots=True)
class Permissions:
    """Directories that one manifest can read, and whether it can run code."""

    directories: tuple[Path, ...] = ()
    """Resolved, the manifest's own tree first; () for the whole machine."""
    allows_code: bool = False

    def can_read(self, path: Path) -> bool:
        """Whether the manifest can read a file, after links are followed."""
        if not self.directories:
            return True
        resolved = path.absolute().resolve()
        return any(resolved.is_relative_to(directory) for directory in self.directories)


NO_TRUST = Trust()
"""Rights of an unknown manifest: its own tree, no code."""
FULL_ACCESS = Permissions(allows_code=True)
"""Permissions of shipped files."""


def find_own_tree(manifest: Path) -> Path:
    """Return the directory of a manifest's own files: its Git checkout, or its directory.

    A checkout that contains the home directory does not count: `git init` there is common.
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
"""Bytes of the largest input file."""


class InputFiles:
    """Reads local files within the permissions, and records the SHA-256 of each."""

    def __init__(
        self,
        problems: Problems,
        permissions: Permissions = FULL_ACCESS,
        drafts: Mapping[Path, bytes] | None = None,
    ) -> None:
        """`drafts`: contents that are read in place of those of files: edits before they are saved."""
        self.problems = problems
        self.permissions = permissions
        self._drafts = {path.absolute(): data for path, data in (drafts or {}).items()}
        self._digests: dict[str, str] = {}

    def read(self, path: Path, where: Location | str = "") -> bytes | None:
        """Read a file; None if it is missing, or not readable, which adds a problem at `where`."""
        return self._read_file(path, where) if self.can_read(path, where) else None

    def record_certificate(self, path: Path, where: Location) -> None:
        """Record a file that is used to verify or sign: it can be anywhere, and is in no image."""
        self._report_missing(path, where, self._read_file(path, where))

    def can_read(self, path: Path, where: Location | str) -> bool:
        """Whether the manifest can read a path; add a problem at `where` if not."""
        if self.permissions.can_read(path):
            return True
        message = f"{display_path(path)} is outside of the manifest's own tree {self.permissions.directories[0]}"
        if path.is_symlink():
            message = f"{display_path(path)} is a link to {path.resolve()}, outside of the manifest's own tree"
        self.problems.add(
            message, where, f"copy it there, allow it: --allow-outside PATH, or {TRUST_FIX}"
        )
        return False

    def require_code_permission(self, action: str, where: Location) -> None:
        """Add a problem unless the manifest can run code on this machine."""
        if not self.permissions.allows_code:
            message = f"{action}, but this manifest is not trusted to run code"
            self.problems.add(message, where, f"allow it: --allow-code, or {TRUST_FIX}")

    def _read_file(self, path: Path, where: Location | str) -> bytes | None:
        key = str(path.absolute())
        draft = self._drafts.get(path.absolute())
        try:
            data = (
                draft
                if draft is not None
                else (
                    path.read_bytes()
                    if self.permissions is FULL_ACCESS
                    else _read_regular_bytes(path)
                )
            )
        except (FileNotFoundError, NotADirectoryError):
            self._digests[key] = ""
            return None
        except OSError as error:
            message = f"{display_path(path)} cannot be read: {error.strerror}"
            self.problems.add(message, where, "name a file that you can read")
            return None
        self._digests[key] = hashlib.sha256(data).hexdigest()
        return data

    def require(self, path: Path, where: Location) -> bytes | None:
        """Read a file; a missing one adds a problem at `where` with a similar name."""
        return self._report_missing(path, where, self.read(path, where))

    def _report_missing(self, path: Path, where: Location, data: bytes | None) -> bytes | None:
        if data is None and self._digests.get(str(path.absolute())) == "":
            fix = suggest(path.name, _list_siblings(path), otherwise=f"write {display_path(path)}")
            self.problems.add(f"there is no file {display_path(path)}", where, fix)
        return data

    @property
    def digests(self) -> dict[str, str]:
        """Absolute path → SHA-256, or "" for a missing file; sorted."""
        return dict(sorted(self._digests.items()))


def display_path(path: Path) -> str:
    """Return a path for messages: relative if it is below the current directory."""
    if not path.is_absolute():
        return str(path)
    current = Path.cwd()
    return str(path.relative_to(current) if path.is_relative_to(current) else path)


def _read_regular_bytes(path: Path) -> bytes:
    """Read a regular file, but no pipe or device, which may be endless.

    Raises: OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(0, "Is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
        if status.st_size > MAX_INPUT_SIZE:
            raise OSError(0, f"larger than {MAX_INPUT_SIZE} bytes")
        return file.read()


def _list_siblings(path: Path) -> list[str]:
    """Return the names in the directory of `path`; none if there are very many."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []
    return names if len(names) < 1000 else []
