"""What a manifest may reach on the build machine: which files it may read, and whether it may run code.

A manifest of a stranger is data: it may take files of its own tree into an image, and nothing else
of this machine. A manifest below a directory that the user trusts may do all that the user may.
"""

from dataclasses import dataclass
from pathlib import Path

from minbuild.shipped import shipped

KEY = "trusted"
"""The config file's list of directories whose manifests are the user's own."""
HOW = f'list the manifest\'s directory in the config file: {KEY} = ["DIR"]'


@dataclass(frozen=True, slots=True)
class Trust:
    """What the user lets manifests do."""

    directories: tuple[Path, ...] = ()
    """Manifests below them may do all that the user may."""
    outside: tuple[Path, ...] = ()
    """Files and directories beside a manifest's own tree that it may read."""
    code: bool = False
    """True: a manifest may name what runs on this machine: modules, elements, tools, keys."""

    def of(self, manifest: Path, components: tuple[Path, ...] = ()) -> "Reach":
        """What one manifest may reach; `components` are directories that the user named."""
        place = manifest.absolute().resolve()
        own = {shipped("manifests").resolve(), *(path.resolve() for path in self.directories)}
        if any(place.is_relative_to(directory) for directory in own):
            return Reach(code=True)
        top = own_tree(place)
        more = (*components, *self.outside)
        return Reach(
            (top, shipped("manifests").resolve(), *(one.resolve() for one in more)), self.code
        )


@dataclass(frozen=True, slots=True)
class Reach:
    """What one manifest may reach."""

    directories: tuple[Path, ...] = ()
    """Resolved; the manifest's own tree first. () for the whole machine."""
    code: bool = False

    def may_read(self, path: Path) -> bool:
        """Whether a file, its links followed, lies where the manifest may read."""
        if not self.directories:
            return True
        place = path.absolute().resolve()
        return any(place.is_relative_to(directory) for directory in self.directories)


NOTHING = Trust()
"""A manifest of nobody knows whom: its own tree, and no code."""
EVERYTHING = Reach(code=True)
"""What files of minbuild's own may reach."""


def own_tree(manifest: Path) -> Path:
    """The directory that a manifest's own files lie in: its checkout, or else its directory.

    A checkout that holds the user's home directory is none: `git init` there is common.
    """
    home = _home()
    for directory in manifest.parents:
        if (directory / ".git").exists():
            return manifest.parent if home.is_relative_to(directory) else directory
    return manifest.parent


def _home() -> Path:
    try:
        return Path.home().resolve()
    except RuntimeError:  # no HOME and no entry in the user database
        return Path("/")
