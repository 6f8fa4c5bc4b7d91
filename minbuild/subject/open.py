"""What a word on the command line names, and its footprint."""

from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.errors import UsageError
from minbuild.footprint import document
from minbuild.footprint.types import Footprint
from minbuild.run import run

if TYPE_CHECKING:
    from minbuild.facts.root.types import Reach

EXT = slice(1080, 1082)
"""Where ext2, ext3 and ext4 have their magic number. Source: ext4's "Super Block"."""
GIT = "git:"
FIX = (
    "name a build directory (build/host), footprint.json, an image (host.efi, host.raw, .qcow2, "
    "a disk with ext4, an initramfs), a root directory, a tar archive of one, or git:REF"
)


def open_subject(word: str, reach: "Reach") -> Footprint:
    """Read or measure what `word` names; `reach` is asked where a file system or database needs it.

    Raises: UsageError when there is no such thing or nobody knows what it is; ToolError for a
    damaged image.
    """
    if word.startswith(GIT):
        return _committed(word)
    path = Path(word)
    if path.is_dir():
        inside = path / "footprint.json"
        if inside.exists():
            return _document(inside)
        from minbuild.subject.directory import read_directory

        return read_directory(path, reach)
    try:
        with path.open("rb") as file:
            start = file.read(2048)
        return _by_content(path, start, reach)
    except OSError as error:
        raise UsageError(f"cannot read it: {error.strerror}", where=str(path), fix=FIX) from error


def _by_content(path: Path, start: bytes, reach: "Reach") -> Footprint:
    from minbuild.image.cpio import MAGICS
    from minbuild.image.packings import packing
    from minbuild.subject import image
    from minbuild.subject.tarball import read_tar

    def tool(name: str, data: bytes) -> bytes:
        return reach().unpack(name, data)

    if start.lstrip()[:1] == b"{":
        return _document(path)
    if start.startswith(b"MZ"):
        return image.read_uki(path, tool)
    packed = packing(start) is not None
    if start[257:262] == b"ustar" or (packed and is_tar(path)):
        return read_tar(path, reach)
    if packed or start.startswith(MAGICS):
        return image.read_initramfs(path, tool)
    if (
        start.startswith(b"QFI\xfb")
        or start[512:520] == b"EFI PART"
        or start[EXT] == b"\x53\xef"
        or start[510:512] == b"\x55\xaa"
    ):
        return _disk(path, reach)
    raise UsageError("nobody knows what this is", where=str(path), fix=FIX)


def _disk(path: Path, reach: "Reach") -> Footprint:
    """A disk that starts a UKI, or else one that holds an installed root."""
    from minbuild.subject import image
    from minbuild.subject.disk import NoUki
    from minbuild.subject.qcow2 import opened
    from minbuild.subject.rootdisk import read_root_disk

    with opened(path) as (raw, kept):
        try:
            return image.read_disk(path, raw, lambda name, data: reach().unpack(name, data))
        except NoUki:
            return read_root_disk(path, raw, kept, reach)


def is_tar(path: Path) -> bool:
    """Tell a tar archive, packed or not, by its first header."""
    import lzma
    import tarfile
    import zlib

    try:
        return tarfile.is_tarfile(path)
    except (EOFError, lzma.LZMAError, zlib.error, OSError):
        return False


def _document(path: Path) -> Footprint:
    try:
        text = path.read_text(encoding="utf-8")
        return _with_ports(document.read(text, str(path)), text, path.with_name("ports.json"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read a footprint: {why}", where=str(path), fix=FIX) from error


def _with_ports(footprint: Footprint, text: str, place: Path) -> Footprint:
    """A build's footprint with what the lab last saw of it; as it is where nobody looked."""
    if not place.is_file():
        return footprint
    from minbuild.footprint import heard

    ports = heard.read(place.read_text(encoding="utf-8"), text, str(place))
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
