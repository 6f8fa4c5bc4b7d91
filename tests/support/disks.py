"""File systems as others make them: by the toolbox's mke2fs, on any machine."""

from pathlib import Path

from tests.unit.toolbox.real import toolbox


def ext4(tree: Path, place: Path, size: str, *more: str) -> Path:
    """An ext4 file system of `size` (12M) with the files of a directory; `more` is for mke2fs."""
    words = ["-q", "-F", "-t", "ext4", *more, "-d", tree, place, size]
    toolbox().run("mke2fs", words, what="making a file system")
    return place
