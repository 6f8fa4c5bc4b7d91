"""What a word on the command line names, and its footprint."""

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.errors import UsageError
from minbuild.footprint import document
from minbuild.footprint.types import DISK, Footprint
from minbuild.foreign import read_text
from minbuild.run import run
from minbuild.subject.forms import FIX, FOOTPRINT, Form, form_of

if TYPE_CHECKING:
    from minbuild.facts.root.container import Choice
    from minbuild.facts.root.types import Reach

GIT = "git:"
LARGEST = 256 << 20
"""Bytes of the largest footprint that is read."""


def open_subject(word: str, reach: "Reach", choice: "Choice | None" = None) -> Footprint:
    """Read or measure what `word` names; `reach` is asked where a file system or database needs it.

    `choice`: which of several images in one file is meant.
    Raises: UsageError when there is no such thing or nobody knows what it is; ToolError for a
    damaged image.
    """
    if word.startswith(GIT):
        return _committed(word)
    path = Path(word)
    form = form_of(path)
    match form:
        case Form.BUILD:
            return _built(path, reach)
        case Form.DOCUMENT:
            return _document(path) if is_alone(word) else _built(path.parent, reach)
        case Form.DIRECTORY | Form.CONTAINER | Form.TAR:
            from minbuild.subject.root import read_root

            return read_root(path, form, reach, choice)
        case Form.UKI:
            from minbuild.subject import image

            return image.read_uki(path, reach)
        case Form.INITRAMFS:
            from minbuild.subject import image

            return image.read_initramfs(path, reach)
        case Form.DISK:
            return _disk(path, reach)


def is_alone(word: str) -> bool:
    """Tell a footprint that is committed, or has another name than one beside its images."""
    path = Path(word)
    return word.startswith(GIT) or (
        path.name != FOOTPRINT and path.is_file() and form_of(path) is Form.DOCUMENT
    )


def _built(directory: Path, reach: "Reach") -> Footprint:
    """The footprint of a build, held against the images beside it."""
    from minbuild.subject.belongs import require_own, tell

    footprint = _document(directory / FOOTPRINT)
    proof = require_own(footprint, directory, reach)
    tell(proof, lambda text: reach().note(text))
    return footprint


def _disk(path: Path, reach: "Reach") -> Footprint:
    """A disk that starts a UKI, or else one that holds an installed root."""
    from minbuild.facts.root.disk import open_disk
    from minbuild.facts.root.images import as_raw
    from minbuild.subject import image
    from minbuild.subject.disk import NoUki
    from minbuild.subject.loaders import root_words
    from minbuild.subject.measured import Weighed, measure

    with tempfile.TemporaryDirectory(prefix="minbuild-") as work:
        raw, is_packed = as_raw(path, Path(work), lambda name: reach().programs(name))
        if reach().partition is None:
            with contextlib.suppress(NoUki):
                return image.read_disk(path, raw, reach)
        source, is_dense = open_disk(path, raw, Path(work), reach(), "", root_words)
        ending = path.suffix.removeprefix(".") or "image"
        weighed = Weighed(path.stat().st_size, ending, is_packed or is_dense, DISK)
        return measure(source, path.name.partition(".")[0], reach, weighed)


def _document(path: Path) -> Footprint:
    try:
        text = read_text(path, LARGEST)
        return _with_ports(document.read(text, str(path)), text, path.with_name("ports.json"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read a footprint: {why}", where=str(path), fix=FIX) from error


def _with_ports(footprint: Footprint, text: str, place: Path) -> Footprint:
    """A build's footprint with what the lab last saw of it; as it is where nobody looked."""
    if not place.is_file():
        return footprint
    from minbuild.footprint import heard

    ports = heard.read(read_text(place, LARGEST), text, str(place))
    return footprint if ports is None else heard.with_ports(footprint, ports)


def _committed(word: str) -> Footprint:
    """The footprint in a commit of the repository here: git:REF, or git:REF:PATH."""
    ref, _, path = word.removeprefix(GIT).partition(":")
    if not ref or ref.startswith("-"):
        raise UsageError("git: needs a commit", where=word, fix="write it like git:main")
    if not path:
        listed = run(
            ["git", "ls-tree", "-r", "--full-tree", "--name-only", "-z", ref],
            what=f"looking for a footprint in {ref}",
        )
        found = [
            name for name in listed.decode("utf-8", "replace").split("\0")
            if name.endswith("footprint.json") and not name.startswith("tests/")
        ]  # fmt: skip
        if len(found) != 1:
            raise UsageError(
                f"{len(found) or 'no'} files named footprint.json are committed in {ref}",
                where=word,
                fix=f"commit one, or name it: git:{ref}:PATH",
            )
        path = found[0]
    text = run(["git", "show", f"{ref}:{path}"], what=f"reading {path} of {ref}")
    return document.read(text.decode("utf-8", "replace"), f"{ref}:{path}")
