"""Any root that a path names, opened for reading: one reader of each format for all commands."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.facts.root.blobs import Blobs, Folder, Packed
from minbuild.facts.root.container import ANY, Choice, Container, is_container
from minbuild.facts.root.directory import Directory
from minbuild.facts.root.disk import open_disk, tell_others
from minbuild.facts.root.images import as_raw
from minbuild.facts.root.tarball import Unpacked, opened, unpack
from minbuild.facts.root.types import Reach, Source
from minbuild.subject.disk import NoUki
from minbuild.subject.forms import BUNDLE, FOOTPRINT, Form, around_a_root, form_of, is_bundle
from minbuild.subject.inside import Inside
from minbuild.subject.loaders import root_words

ENDINGS = ("efi", "raw", "qcow2", "cpio", "tar")
"""What of a build is read as its image, the first that is there."""


def open_source(
    path: Path,
    work: Path,
    reach: Reach,
    *,
    choice: Choice = ANY,
    leave: Sequence[str] = (),
    starts: bool = True,
) -> Source:
    """Open the root that a path names.

    `work`: a directory for what is unpacked on the way; it must last as long as the source.
    `reach`: asked where only a program reads what is there.
    `leave`: directories of a root in a directory whose content is left out. `starts`: of a disk
    what it starts, if anything, rather than what is installed on it.
    Raises: UsageError when there is nothing, or several of which none is chosen; ToolError when
    it is damaged.
    """
    form = form_of(path)
    if form is Form.BUILD:
        path = image_of(path)
        form = form_of(path)
    match form:
        case Form.DIRECTORY:
            return Directory(path, leave=leave)
        case Form.CONTAINER:
            return Container(str(path), Folder(path), work, choice)
        case Form.TAR:
            return open_tar(path, work, choice)
        case Form.UKI | Form.INITRAMFS:
            return Inside(path, lambda name, data: reach().unpack(name, data))
        case Form.DISK:
            return _open_disk(path, work, reach, choice.arch, starts=starts)
        case Form.BUILD | Form.DOCUMENT:
            raise UsageError(
                f"{form} holds no files", where=str(path),
                fix="name the image, or the build's directory",
            )  # fmt: skip


def _open_disk(path: Path, work: Path, reach: Reach, arch: str, *, starts: bool) -> Source:
    """What a disk starts, or else the root that is installed on it."""
    raw, _ = as_raw(path, work, lambda name: reach().programs(name))
    if starts and reach().partition is None:
        with contextlib.suppress(NoUki):
            found = Inside(path, lambda name, data: reach().unpack(name, data), raw)
            tell_others(path, raw, reach().note)
            return found
    return open_disk(path, raw, work, reach(), arch, root_words)[0]


def open_tar(path: Path, work: Path, choice: Choice) -> Unpacked:
    """Open a tar, of a root or of a container image. Raises: as `open_source`."""
    tar = opened(path, work)
    system = unpack(tar, str(path))
    blobs: Blobs = Packed(system)
    if is_container(blobs):
        return Container(str(path), blobs, work, choice)
    if is_bundle(system.find(name) is not None for name in BUNDLE):
        raise around_a_root(str(path), f"unpack it, and name its {BUNDLE[0]}")
    return Unpacked(str(path), system)


def image_of(build: Path) -> Path:
    """The image in a build directory. Raises: UsageError when there is none, or several."""
    for ending in ENDINGS:
        found = sorted(build.glob(f"*.{ending}"))
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"the build has several images: {', '.join(one.name for one in found)}",
                where=str(build), fix=f"name one of them: {found[0]}",
            )  # fmt: skip
    raise UsageError(
        f"there is a {FOOTPRINT} and no image beside it", where=str(build),
        fix="build it again: minbuild make; or name the image",
    )  # fmt: skip
