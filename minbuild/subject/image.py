"""Images: a UKI, an initramfs, and disks that start one, unpacked and measured anew."""

import mmap
import re
import stat
from pathlib import Path

from minbuild.errors import MinbuildError, UsageError
from minbuild.facts.root.types import Reach
from minbuild.facts.versions import version_key
from minbuild.footprint import document
from minbuild.footprint.types import DISK, OVERHEAD, Footprint
from minbuild.foreign import read_text
from minbuild.image.cpio import Member
from minbuild.image.unpack import tree, unpacked
from minbuild.lab.uki import LARGEST
from minbuild.lab.uki import read_uki as uki_of
from minbuild.paths import RootPath, spelled
from minbuild.subject import disk
from minbuild.subject.seen import Origin, Seen, content, footprint

_RELEASE = re.compile(r"[A-Za-z0-9._+~-]+")
EXTRA = "/.extra"
"""Where the stub puts what other sections and the ESP hold. Source: systemd-stub(7)."""
TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


def read_uki(path: Path, reach: Reach) -> Footprint:
    """Measure a UKI: its rows sum to the file's size.

    Raises: MinbuildError when it is damaged.
    """
    return _uki(whole(path), path, {}, reach)


def read_disk(path: Path, raw: Path, reach: Reach) -> Footprint:
    """Measure a disk that starts a UKI: its rows sum to the size of the file at `path`.

    `raw`: the same disk, not packed.
    Raises: MinbuildError when it is damaged, NoUki when it starts no UKI.
    """
    with raw.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        boot = disk.read_boot(data, str(path))
    size = path.stat().st_size
    plain = size == raw.stat().st_size
    others = {f"{DISK} {name}": n if plain else 0 for name, n in boot.others.items()}
    rest = size - len(boot.uki) - sum(others.values())
    if rest < 0:
        raise UsageError(
            "the disk cannot be measured: its partitions lie on each other", where=str(path),
            fix="name a disk that starts a UKI, or mount it and name its root directory",
        )  # fmt: skip
    return _uki(boot.uki, path, {DISK: rest, **others}, reach)


def read_initramfs(path: Path, reach: Reach) -> Footprint:
    """Measure an initramfs of anyone's making, packed or not.

    Raises: ToolError when it is damaged.
    """
    data = whole(path)
    seen = _members(data, str(path), reach)
    packed = {"initrd": len(data)}
    name = path.name.partition(".")[0]
    payload = len(data) if any(one.type == "file" and one.weight for one in seen) else 0
    origin = Origin(
        name=name, kernel=_release(seen), payload=payload, packed=packed, capabilities=True,
        overhead={OVERHEAD: len(data) - payload},
    )  # fmt: skip
    return footprint(seen, origin)


def whole(path: Path) -> bytes:
    """The bytes of an image. Raises: UsageError for one that is larger than any that starts."""
    size = path.stat().st_size
    if size > LARGEST:
        raise UsageError(
            f"the image is larger than what is read: {size:,} bytes", where=str(path),
            fix="name a UKI or an initramfs of at most 2 GiB",
        )  # fmt: skip
    return path.read_bytes()


def _uki(data: bytes, path: Path, overhead: dict[str, int], reach: Reach) -> Footprint:
    uki = uki_of(data, str(path))
    release = uki.uname if _RELEASE.fullmatch(uki.uname) else ""
    seen = _members(uki.initrd, str(path), reach, uki.machine)
    extra = next((one.path for one in seen if one.path.startswith(EXTRA)), "")
    if extra:
        raise UsageError(
            f"the image cannot be measured: the stub writes its own files over {extra}",
            where=str(path),
            fix="make the initramfs without /.extra, where systemd's stub puts what it knows",
        )
    kernel = RootPath(f"/boot/vmlinuz-{release}" if release else "/boot/vmlinuz")
    if any(one.path == kernel for one in seen):
        kernel = RootPath("/.linux")
    beside = _beside(path)
    seen.append(content(Seen(kernel, "file", 0o644), uki.linux))
    parts = {f"{OVERHEAD} {name}": size for name, size in uki.parts.items()}
    packed = len(uki.initrd)
    size = len(data) - len(uki.linux) - packed - sum(parts.values())
    origin = Origin(
        name=beside.name if beside else path.stem,
        kernel=release,
        kernel_path=kernel,
        payload=packed,
        packed={path.suffix.removeprefix(".") or "image": len(data) + sum(overhead.values())},
        overhead={OVERHEAD: size, **parts, **overhead},
        cmdline=" ".join(uki.cmdlines),
        capabilities=True,
        beside=beside,
    )
    return footprint(seen, origin)


def _members(data: bytes, where: str, reach: Reach, machine: int = 0) -> list[Seen]:
    """What the kernel would unpack; the second name of a file is a hard link."""
    first: dict[int, RootPath] = {}
    root = unpacked(data, where=where, tool=lambda *words: reach().unpack(*words), machine=machine)
    if root.dropped:
        names = ", ".join(spelled(name) for name in root.dropped[:3])
        more = f" and {len(root.dropped) - 3} more" if len(root.dropped) > 3 else ""
        reach().note(f"members that the kernel drops, and that are not counted: {names}{more}")
    seen = [_seen(one, first) for one in tree(root).values()]
    if root.root.mode & 0o1002 == 0o002:
        mode = stat.S_IMODE(root.root.mode)
        seen.append(Seen(RootPath("/"), "directory", mode, root.root.uid, root.root.gid))
    return seen


def _seen(one: Member, first: dict[int, RootPath]) -> Seen:
    kind = TYPES.get(stat.S_IFMT(one.mode), "other")
    mode = stat.S_IMODE(one.mode)
    original = first.setdefault(one.inode, one.path)
    if kind == "link":
        target = spelled(one.content)
        return Seen(one.path, kind, mode, one.uid, one.gid, target=target)
    if kind == "file":
        if original != one.path:
            return Seen(one.path, "hardlink", mode, one.uid, one.gid, target=original)
        return content(Seen(one.path, kind, mode, one.uid, one.gid), one.content)
    return Seen(one.path, kind, mode, one.uid, one.gid, target=_device(one))


def _device(one: Member) -> str:
    """A device node's type and numbers, as ls(1) has them: `c 1:3`."""
    letter = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(one.mode))
    return f"{letter} {one.device[0]}:{one.device[1]}" if letter else ""


def _beside(path: Path) -> Footprint | None:
    """The footprint that was written with an image; None without a sound one."""
    place = path.parent / "footprint.json"
    try:
        return document.read(read_text(place, LARGEST), str(place))
    except (OSError, UnicodeDecodeError, MinbuildError):
        return None


def _release(seen: list[Seen]) -> str:
    names = {one.path.split("/")[4] for one in seen if one.path.startswith("/usr/lib/modules/")}
    return max(names, key=version_key, default="")
