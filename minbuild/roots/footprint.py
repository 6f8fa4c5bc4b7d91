"""The footprint of an argument on the command line: read, or measured."""

import contextlib
import tempfile
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.file_io import read_regular_text
from minbuild.footprint import document, open_ports
from minbuild.footprint.model import DISK_OVERHEAD, Footprint
from minbuild.formats.qemu_image import convert_to_raw
from minbuild.process import run_program
from minbuild.roots import measured_files
from minbuild.roots.boot_disk import NoUkiOnDisk
from minbuild.roots.image_verification import report_unverified, verify_images
from minbuild.roots.installed_disk import open_disk_root
from minbuild.roots.model import GetReaders
from minbuild.roots.oci import ImageChoice
from minbuild.roots.open import FIX, FOOTPRINT_NAME, InputKind, detect_input
from minbuild.roots.root_footprint import RootStorage, measure_root, measure_stored_root
from minbuild.roots.root_partition import read_fat_root_options

GIT_PREFIX = "git:"
MAX_FOOTPRINT = 256 << 20
"""Bytes of the largest footprint that is read."""


def load_footprint(
    word: str, get_readers: GetReaders, choice: ImageChoice | None = None
) -> Footprint:
    """Read or measure what `word` names; `get_readers` is called where a file system or database needs it.

    `choice`: which of several images in one file is meant.
    Raises: UsageError when there is no such thing or it is of no known format; ToolError for a
    damaged image.
    """
    if word.startswith(GIT_PREFIX):
        return _read_committed(word)
    path = Path(word)
    kind = detect_input(path)
    match kind:
        case InputKind.BUILD:
            return _load_build(path, get_readers)
        case InputKind.DOCUMENT:
            return (
                _read_document(path)
                if is_standalone(word)
                else _load_build(path.parent, get_readers)
            )
        case InputKind.DIRECTORY | InputKind.CONTAINER | InputKind.TAR:
            return measure_stored_root(path, kind, get_readers, choice)
        case InputKind.UKI:
            return measured_files.measure_uki(path, get_readers)
        case InputKind.INITRAMFS:
            return measured_files.measure_initramfs(path, get_readers)
        case InputKind.DISK:
            return _load_disk(path, get_readers)


def is_standalone(word: str) -> bool:
    """Tell a footprint that is committed, or has another name than one beside its images."""
    path = Path(word)
    return word.startswith(GIT_PREFIX) or (
        path.name != FOOTPRINT_NAME and path.is_file() and detect_input(path) is InputKind.DOCUMENT
    )


def _load_build(directory: Path, get_readers: GetReaders) -> Footprint:
    """The footprint of a build, held against the images beside it."""

    footprint = _read_document(directory / FOOTPRINT_NAME)
    verification = verify_images(footprint, directory, get_readers)
    report_unverified(verification, lambda text: get_readers().note(text))
    return footprint


def _load_disk(path: Path, get_readers: GetReaders) -> Footprint:
    """A disk that starts a UKI, or else one that holds an installed root."""

    with tempfile.TemporaryDirectory(prefix="minbuild-") as work:
        raw_disk, is_packed = convert_to_raw(
            path, Path(work), lambda name: get_readers().get_program(name)
        )
        if get_readers().partition is None:
            with contextlib.suppress(NoUkiOnDisk):
                return measured_files.measure_disk(path, raw_disk, get_readers)
        source, is_dense = open_disk_root(
            path, raw_disk, Path(work), get_readers(), "", read_fat_root_options
        )
        ending = path.suffix.removeprefix(".") or "image"
        storage = RootStorage(path.stat().st_size, ending, is_packed or is_dense, DISK_OVERHEAD)
        return measure_root(source, path.name.partition(".")[0], get_readers, storage)


def _read_document(path: Path) -> Footprint:
    try:
        text = read_regular_text(path, MAX_FOOTPRINT)
        return _add_observed_ports(
            document.read_footprint(text, str(path)), text, path.with_name("ports.json")
        )
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read a footprint: {reason}", where=str(path), fix=FIX) from error


def _add_observed_ports(footprint: Footprint, text: str, ports_path: Path) -> Footprint:
    """A build's footprint with what the lab last saw of it; as it is where nobody looked."""
    if not ports_path.is_file():
        return footprint

    ports = open_ports.read_ports(
        read_regular_text(ports_path, MAX_FOOTPRINT), text, str(ports_path)
    )
    return footprint if ports is None else open_ports.add_ports(footprint, ports)


def _read_committed(word: str) -> Footprint:
    """The footprint in a commit of the repository here: git:REF, or git:REF:PATH."""
    ref, _, path = word.removeprefix(GIT_PREFIX).partition(":")
    if not ref or ref.startswith("-"):
        raise UsageError("git: needs a commit", where=word, fix="write it like git:main")
    if not path:
        listing = run_program(
            ["git", "ls-tree", "-r", "--full-tree", "--name-only", "-z", ref],
            purpose=f"looking for a footprint in {ref}",
        )
        paths = [
            name for name in listing.decode("utf-8", "replace").split("\0")
            if name.endswith("footprint.json") and not name.startswith("tests/")
        ]  # fmt: skip
        if len(paths) != 1:
            raise UsageError(
                f"{len(paths) or 'no'} files named footprint.json are committed in {ref}",
                where=word,
                fix=f"commit one, or name it: git:{ref}:PATH",
            )
        path = paths[0]
    text = run_program(["git", "show", f"{ref}:{path}"], purpose=f"reading {path} of {ref}")
    return document.read_footprint(text.decode("utf-8", "replace"), f"{ref}:{path}")
