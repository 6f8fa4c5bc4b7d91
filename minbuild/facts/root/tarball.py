"""A root in a tar, packed or not: its members, and each file's bytes by its place in it."""

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from minbuild.errors import ToolError
from minbuild.facts.damage import Damage
from minbuild.facts.root.types import Found, place
from minbuild.facts.types import Kind
from minbuild.facts.unpack import PIECE, unpacked

_MAGIC = {b"\xfd7zXZ\0": ".xz", b"\x28\xb5\x2f\xfd": ".zst", b"\x1f\x8b": ".gz"}
_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.SYMTYPE: Kind.LINK,
    tarfile.DIRTYPE: Kind.DIRECTORY,
}
_SPECIAL = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)


class Tarball:
    """Reads a root from a tar; later members replace earlier ones, as tar lays them down."""

    def __init__(self, path: Path, work: Path) -> None:
        """`work`: a directory where a packed tar is unpacked to, until the build ends."""
        self.path = path
        self._plain = plain(path, work)
        self._places: dict[str, tuple[int, int]] = {}

    @property
    def name(self) -> str:
        return str(self.path)

    def walk(self) -> Iterator[Found]:
        """Raises: ToolError when it is no tar, is damaged, or holds what a root cannot."""
        found: dict[str, Found] = {}
        try:
            with tarfile.open(self._plain, "r:") as tar:
                for member in tar:
                    raw = relative(member.name, self.name)
                    if raw and member.type not in _SPECIAL:
                        found[raw] = self._found(member, raw)
        except (tarfile.TarError, OSError, ValueError) as error:
            raise damaged(f"it is no tar that can be read: {error}", self.name) from error
        yield from first_names(found)

    def read(self, raw: str) -> bytes:
        """The bytes of a file."""
        offset, size = self._places[raw]
        with self._plain.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def heads(self, raws: Sequence[str], size: int) -> Iterator[tuple[str, bytes]]:
        """The first bytes of many files."""
        with self._plain.open("rb") as file:
            for raw in sorted(raws, key=self._places.__getitem__):
                offset, all_of_it = self._places[raw]
                file.seek(offset)
                yield raw, file.read(min(size, all_of_it))

    def view(self, raw: str) -> bytes:
        """The bytes of a file."""
        return self.read(raw)

    def _found(self, member: tarfile.TarInfo, raw: str) -> Found:
        kind = _KINDS.get(member.type)
        if kind is None or member.issparse():
            raise damaged(f"a member of a kind that a root has not: {member.name!r}", self.name)
        target = member.linkname
        if kind is Kind.HARDLINK:
            target = relative(target, self.name)
        elif kind is Kind.FILE:
            self._places[raw] = (member.offset_data, member.size)
        mode = member.mode & 0o7777 if kind is not Kind.LINK else 0o777
        return Found(place(raw, kind), raw, kind, mode, member.uid, member.gid,
                     member.size if kind is Kind.FILE else 0, target)  # fmt: skip


def first_names(found: dict[str, Found]) -> Iterator[Found]:
    """Give hard links the size of their first name; one that lost it is left out of no walk."""
    for each in found.values():
        if each.kind is not Kind.HARDLINK:
            yield each
            continue
        first = found.get(each.target)
        while first is not None and first.kind is Kind.HARDLINK:
            first = found.get(first.target)
        if first is None or first.kind is not Kind.FILE:
            raise damaged(f"a hard link to what is not there: {each.raw!r}", each.raw)
        yield Found(each.path, each.raw, each.kind, first.mode, first.uid, first.gid, first.size,
                    first.raw)  # fmt: skip


def plain(path: Path, work: Path) -> Path:
    """The path of an unpacked copy; `path` itself when it is not packed.

    Raises: ToolError when it cannot be read or unpacked.
    """
    try:
        with path.open("rb") as packed:
            ending = _ending(packed)
            if not ending:
                return path
            place = work / f"{path.name}.plain"
            with place.open("wb") as out:
                for piece in unpacked(lambda size: packed.read(size or PIECE), ending):
                    out.write(piece)
            return place
    except OSError as error:
        raise damaged(f"it cannot be read: {error.strerror}", str(path)) from error
    except Damage as error:
        raise damaged(f"it cannot be unpacked: {error}", str(path)) from error


def relative(name: str, where: str) -> str:
    """A member's name without `./`; "" for the top. Raises: ToolError for one that leads out."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise damaged(f"a name that leads out of the root: {name!r}", where)
    return "/".join(parts)


def damaged(what: str, where: str) -> ToolError:
    """The error for a root that cannot be used."""
    return ToolError(
        f"the root cannot be used: {what}",
        where=where,
        fix="name a directory, a tar, an OCI image layout or a disk image that holds a root",
    )


def _ending(file: BinaryIO) -> str:
    head = file.read(6)
    file.seek(0)
    return next((ending for magic, ending in _MAGIC.items() if head.startswith(magic)), "")
