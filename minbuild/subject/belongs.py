"""Whether a footprint is that of the images beside it: each is unpacked and held against it."""

import hashlib
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.facts.root.images import as_raw
from minbuild.facts.root.types import Reach
from minbuild.footprint.types import FileRow, FindingKind, Footprint
from minbuild.image.cpio import Member
from minbuild.image.packings import Tool
from minbuild.image.unpack import members
from minbuild.lab.uki import Uki, read_uki
from minbuild.paths import RootPath, spelled
from minbuild.subject.disk import boot_file
from minbuild.subject.forms import Form, form_of
from minbuild.subject.image import whole

ENDINGS = frozenset({"efi", "raw", "qcow2", "vhdx", "vmdk", "vdi", "iso", "cpio"})
"""What starts, or is started."""
SHOWN = 3
"""Differences that an error names."""
Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """Which images a footprint is of."""

    measured: tuple[str, ...]
    """Names of files that were read."""
    unread: tuple[str, ...]
    """Of those that nothing here reads."""


def require_own(footprint: Footprint, directory: Path, reach: Reach, *, only: str = "") -> Proof:
    """Read every image of a build, or the `only` one, and hold it against the footprint beside it.

    Raises: UsageError when one is another's; ToolError when one is damaged.
    """
    wanted = _wanted(footprint)
    measured: list[str] = []
    unread = _others(footprint, directory, only)
    known: set[bytes] = set()
    for ending, size in footprint.packed.items():
        place = directory / _plain(f"{footprint.name}.{ending}", directory)
        if not place.is_file() or only not in ("", place.name):
            continue
        if place.stat().st_size != size:
            raise _other(place, [f"its size is {place.stat().st_size:,}, and {size:,} is told"])
        if place.suffix == ".tar":
            _require_tar(wanted, place, reach)
            measured.append(place.name)
            continue
        found = _started(place, reach)
        if found is None:
            unread.append(place.name)
            continue
        measured.append(place.name)
        digest = hashlib.sha256(found).digest()
        if digest not in known:
            _require(footprint, wanted, found, place, lambda *words: reach().unpack(*words))
            known.add(digest)
    return Proof(tuple(measured), tuple(unread))


def _plain(name: str, directory: Path) -> str:
    """The name of an image in this directory. Raises: UsageError for one that leads out of it."""
    if "/" in name or "\0" in name or name.startswith("."):
        raise UsageError(
            f"the footprint names an image that lies elsewhere: {spelled(name)!r}",
            where=str(directory), fix="build again, or measure the image itself",
        )  # fmt: skip
    return name


def _others(footprint: Footprint, directory: Path, only: str) -> list[str]:
    """Images in a build's directory that its footprint does not tell of.

    Raises: UsageError for one of the build's own name.
    """
    told = {f"{footprint.name}.{ending}" for ending in footprint.packed}
    found = [
        path
        for path in sorted(directory.iterdir())
        if path.suffix[1:] in ENDINGS and path.name not in told and only in ("", path.name)
    ]
    for path in found:
        if path.stem == footprint.name:
            raise _other(path, ["it tells of no such image"])
    return [path.name for path in found]


def _started(place: Path, reach: Reach) -> bytes | None:
    """The UKI in a file, or an initramfs alone; None for what is not read."""
    form = form_of(place)
    if form is Form.UKI or (form is Form.INITRAMFS and place.suffix == ".cpio"):
        return whole(place)
    if form is not Form.DISK:
        return None
    with tempfile.TemporaryDirectory(prefix="minbuild-") as work:
        raw, _ = as_raw(place, Path(work), lambda name: reach().programs(name))
        with raw.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return boot_file(data, str(place))


def _require_tar(wanted: Mapping[str, Row], place: Path, reach: Reach) -> None:
    """Raises: UsageError naming what differs."""
    from minbuild.subject.root import read_root

    differ = [*_differences(wanted, _wanted(read_root(place, form_of(place), reach, None)))]
    if differ:
        raise _other(place, differ)


def _require(
    footprint: Footprint, wanted: Mapping[str, Row], data: bytes, place: Path, tool: Tool
) -> None:
    """Raises: UsageError naming what differs."""
    uki = read_uki(data, str(place)) if data.startswith(b"MZ") else None
    kernel = f"/boot/vmlinuz-{footprint.kernel}"
    found = _rows(
        members(uki.initrd, where=str(place), tool=tool, machine=uki.machine)
        if uki
        else members(data, where=str(place), tool=tool)
    )
    expected = {path: row for path, row in wanted.items() if path != kernel}
    differ = [*_differences(expected, found)]
    if uki is not None:
        differ += _differences_of_kernel(footprint, kernel, uki)
    if differ:
        raise _other(place, differ)


def _differences(wanted: Mapping[str, Row], found: Mapping[str, Row]) -> Iterator[str]:
    for path in sorted(wanted.keys() | found.keys()):
        if path not in wanted:
            yield f"{path} is not told"
        elif path not in found:
            yield f"{path} is not in it"
        elif wanted[path] != found[path]:
            yield f"{path} is another"


def _differences_of_kernel(footprint: Footprint, kernel: str, uki: Uki) -> Iterator[str]:
    told = next((row for row in footprint.files if row.path == kernel), None)
    if told is None or told.sha256 != hashlib.sha256(uki.linux).hexdigest():
        yield "the kernel is another"
    if footprint.kernel != uki.uname:
        yield f"the kernel's release is {uki.uname}"
    surface = footprint.surface
    if surface is not None and FindingKind.CMDLINE not in surface.unknown:
        words = {one.subject for one in surface.findings if one.kind is FindingKind.CMDLINE}
        if words != set(" ".join(uki.cmdlines).split()):
            yield "the command line is another"


def _wanted(footprint: Footprint) -> dict[str, Row]:
    by_path = {row.path: row for row in footprint.files}
    names: dict[str, list[str]] = {}
    for row in footprint.files:
        if row.type in {"file", "hardlink"}:
            names.setdefault(_first(row, by_path).path, []).append(row.path)
    return {row.path: _told(row, by_path, names) for row in footprint.files if row.path != "/"}


def _first(row: FileRow, by_path: Mapping[RootPath, FileRow]) -> FileRow:
    return by_path.get(RootPath(row.target), row) if row.type == "hardlink" else row


def _told(row: FileRow, by_path: Mapping[RootPath, FileRow], names: Mapping[str, list[str]]) -> Row:
    match row.type:
        case "file" | "hardlink":
            first = _first(row, by_path)
            every = tuple(sorted(names[first.path]))
            return ("file", first.mode, first.uid, first.gid, first.size, first.sha256, every)
        case "link":
            return ("link", row.uid, row.gid, row.target)
        case _:
            return (row.type, row.mode, row.uid, row.gid)


def _rows(found: Mapping[str, Member]) -> dict[str, Row]:
    names: dict[int, list[str]] = {}
    for one in found.values():
        names.setdefault(one.inode, []).append(one.path)
    return {str(one.path): _row(one, names[one.inode]) for one in found.values()}


def _row(one: Member, names: list[str]) -> Row:
    mode = stat.S_IMODE(one.mode)
    match stat.S_IFMT(one.mode):
        case stat.S_IFREG:
            digest = hashlib.sha256(one.content).hexdigest()
            return ("file", mode, one.uid, one.gid, len(one.content), digest, tuple(sorted(names)))
        case stat.S_IFLNK:
            return ("link", one.uid, one.gid, spelled(one.content))
        case stat.S_IFDIR:
            return ("directory", mode, one.uid, one.gid)
        case _:
            return ("other", mode, one.uid, one.gid)


def _other(place: Path, differ: list[str]) -> UsageError:
    more = f" and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""
    return UsageError(
        f"the footprint beside {place.name} is not its own: {', '.join(differ[:SHOWN])}{more}",
        where=str(place),
        fix=f"build again, or measure the image itself: name {place.name}, not its directory",
    )


Tell = Callable[[str], None]


def tell(proof: Proof, say: Tell) -> None:
    """Say what a footprint was not held against; nothing when all of its images were read."""
    if not proof.measured:
        say("no image beside the footprint was measured: it is judged by what it says itself")
    elif proof.unread:
        say(f"not measured: {', '.join(proof.unread)}")
