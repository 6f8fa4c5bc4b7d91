"""A tar archive of anyone's making, read as a stream; nothing of it is written anywhere."""

import lzma
import posixpath
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.facts.root.owners import DATABASES
from minbuild.facts.root.types import Found, Reach
from minbuild.facts.types import Kind
from minbuild.footprint.types import OVERHEAD, Footprint
from minbuild.paths import rootpath
from minbuild.subject.directory import owned
from minbuild.subject.seen import Origin, Seen, content, footprint

LARGEST = 1 << 30
"""Bytes of the largest member that is read."""
MOST = 4 << 30
"""Bytes of all members together, before an archive counts as a bomb."""
CAPABILITY = "SCHILY.xattr.security.capability"


def read_tar(path: Path, reach: Reach) -> Footprint:
    """Measure the host in a tar archive, packed or not; its own database says whose files are.

    Raises: UsageError when it is damaged or too large.
    """
    seen: list[Seen] = []
    found: dict[str, Found] = {}
    kept: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(path, "r:*") as tar:
            for member in tar:
                total += member.size
                if member.size > LARGEST or total > MOST:
                    raise _unfit(path, "it unpacks to more than can be believed")
                raw = posixpath.normpath(member.name).lstrip("/")
                file = tar.extractfile(member) if member.isreg() else None
                data = file.read() if file is not None else None
                seen.append(_member(member, data))
                if data is not None:
                    found[raw] = Found(seen[-1].path, raw, Kind.FILE, member.mode)
                    if raw.startswith(DATABASES):
                        kept[raw] = data
    except (tarfile.TarError, EOFError, OSError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise _unfit(path, str(error)) from error
    seen = [one for one in seen if one.path != "/"]
    size = path.stat().st_size
    payload = size
    if _is_plain(path):
        seen = [replace(one, weight=one.size) for one in seen]
        payload = sum(one.size for one in {one.path: one for one in seen}.values())
    payload = payload if any(one.weight for one in seen) else 0
    origin = Origin(
        name=path.name.partition(".")[0],
        payload=payload,
        packed={"tar": size},
        overhead={OVERHEAD: size - payload},
        capabilities=True,
        owners=owned(found, kept.__getitem__, reach),
    )
    return footprint(seen, origin)


def _is_plain(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(262)[257:] == b"ustar"


def _member(member: tarfile.TarInfo, data: bytes | None) -> Seen:
    path = rootpath(member.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    kind = "other"
    target = ""
    if member.isreg():
        kind = "file"
    elif member.isdir():
        kind = "directory"
    elif member.issym():
        kind, target = "link", member.linkname
    elif member.islnk():
        kind, target = "hardlink", rootpath(member.linkname)
    seen = Seen(
        path, kind, member.mode & 0o7777, member.uid, member.gid, target=target,
        capability="yes" if CAPABILITY in member.pax_headers else "",
    )  # fmt: skip
    return content(seen, data, sample=True) if data is not None else seen


def _unfit(path: Path, why: str) -> UsageError:
    return UsageError(
        f"the archive cannot be read: {why}", where=str(path), fix="name a whole tar archive"
    )
