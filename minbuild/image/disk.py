"""A disk with a partition table, the one partition that UEFI starts from, and others."""

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.image import bios
from minbuild.image.fat import ROOT_ENTRIES, SECTOR, fit
from minbuild.image.layout import START, Layout, Place, layout
from minbuild.image.uefi import UEFI
from minbuild.manifest.types import DiskWish, Holds
from minbuild.toolbox.toolbox import Toolbox

ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
"""Type of an EFI System Partition. Source: UEFI 2.10, 5.3.3."""
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
"""Source: UAPI group, Discoverable Partitions Specification: generic Linux data."""
BASIC = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
"""Basic data, which every system reads. Source: Microsoft, PARTITION_BASIC_DATA_GUID."""
TYPES = {Holds.ESP: ESP, Holds.EXT4: LINUX, Holds.FAT: BASIC, Holds.EMPTY: LINUX}
LABEL = "MINBUILD"
BLOCK = 1024
"""What mke2fs and mkfs.fat count a size in."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Identifiers that follow from a lock: the same for the same build, other for any other."""

    seed: str

    def guid(self, name: str) -> str:
        """A GUID, version 8 (RFC 9562, 5.8)."""
        raw = bytearray(self._digest(name)[:16])
        raw[6] = raw[6] & 0x0F | 0x80
        raw[8] = raw[8] & 0x3F | 0x80
        return str(uuid.UUID(bytes=bytes(raw)))

    def volume(self, name: str) -> str:
        """A FAT volume id: 8 hexadecimal digits."""
        return self._digest(name)[:4].hex()

    def _digest(self, name: str) -> bytes:
        return hashlib.sha256(f"{self.seed}\0{name}".encode()).digest()


def on_esp(uki: Path, arch: str) -> dict[str, Path]:
    """What the ESP holds, by its place: the file that any UEFI machine starts."""
    return {f"EFI/BOOT/{UEFI[arch].default}": uki}


def esp_number(wish: DiskWish) -> int:
    """The number of the ESP in the partition table."""
    holds = [one.holds for one in wish.partitions] or [Holds.ESP]
    return holds.index(Holds.ESP) + 1 + wish.bios


def make_disk(
    files: Mapping[str, Path],
    identity: Identity,
    output: Path,
    toolbox: Toolbox,
    wish: DiskWish | None = None,
) -> None:
    """Write a GPT disk whose ESP holds `files`, by their place in it; sparse.

    Without a `wish` the disk is the ESP alone, no larger than it must be.
    Raises: ToolError when a tool fails or a partition is too small.
    """
    sizes = [path.stat().st_size for path in files.values()]
    plan = layout(wish or DiskWish(), sizes, len(_directories(files)))
    with output.open("wb") as disk:
        disk.truncate(plan.size)
    _partition(plan, identity, output, toolbox)
    for number, place in enumerate(plan.places):
        _format(place, _key(place, number), identity, output, toolbox)
        if place.holds is Holds.ESP:
            _fill(files, output, place.start, toolbox)


def make_esp(files: Mapping[str, Path], identity: Identity, output: Path, toolbox: Toolbox) -> None:
    """Write the file system of an ESP alone, with no table around it.

    Raises: ToolError when a tool fails.
    """
    fat = fit([path.stat().st_size for path in files.values()], len(_directories(files)))
    with output.open("wb") as disk:
        disk.truncate(fat.sectors * SECTOR)
    place = Place(0, fat.sectors * SECTOR, Holds.ESP, "", "", fat)
    _format(place, "esp", identity, output, toolbox)
    _fill(files, output, 0, toolbox)


def _key(place: Place, number: int) -> str:
    """What a partition's identifiers follow from."""
    return "esp" if place.holds is Holds.ESP else f"partition {number}"


def _fill(files: Mapping[str, Path], output: Path, start: int, toolbox: Toolbox) -> None:
    inside, made = f"{output}@@{start}", set[str]()
    for name, path in sorted(files.items()):
        what = f"filling the ESP: {name}"
        new = [each for each in _directories([name]) if each not in made]
        made.update(new)
        if new and "/" not in new[0] and _with_directories(name, path, output, start, toolbox):
            continue
        if new:
            toolbox.run("mmd", ["-i", inside, *(f"::{each}" for each in new)], what=what)
        # -Q: no question, an error; without -m the time is SOURCE_DATE_EPOCH
        toolbox.run("mcopy", ["-i", inside, "-Q", path, f"::{name}"], what=what)


def _with_directories(name: str, path: Path, output: Path, start: int, toolbox: Toolbox) -> bool:
    """Copy a file and all directories that it lies in by one tool; False where that cannot be."""
    with tempfile.TemporaryDirectory(dir=output.parent) as work:
        place, top = Path(work, name), Path(work, name.partition("/")[0])
        place.parent.mkdir(parents=True)
        try:
            os.link(path, place)
        except OSError:  # no hard links, or another file system
            return False
        words = ("-i", f"{output}@@{start}", "-Q", "-s", top, "::")
        toolbox.run("mcopy", words, what=f"filling the ESP: {name}")
    return True


def _directories(files: Iterable[str]) -> Sequence[str]:
    """Every directory of these places, outer ones first."""
    found = set()
    for name in files:
        parts = name.split("/")[:-1]
        found |= {"/".join(parts[: n + 1]) for n in range(len(parts))}
    return sorted(found)


def _partition(plan: Layout, identity: Identity, output: Path, toolbox: Toolbox) -> None:
    loader = (
        f"start={bios.FIRST}, size={bios.END - bios.FIRST}, type={bios.TYPE}, "
        f'uuid={identity.guid("bios boot")}, name="{bios.NAME}"\n'
    )
    script = f"label: gpt\nlabel-id: {identity.guid('disk')}\nfirst-lba: 34\n"
    script += (loader if plan.bios else "") + "".join(
        f"start={place.start // SECTOR}, size={place.size // SECTOR}, type={TYPES[place.holds]}, "
        f'uuid={identity.guid(_key(place, number))}, name="{_quoted(place.name)}"\n'
        for number, place in enumerate(plan.places)
    )
    words: list[str | Path] = ["--quiet", "--no-reread", "--no-tell-kernel", "--wipe=never", output]
    toolbox.run("sfdisk", words, what="writing the partition table", stdin=script.encode())


def _quoted(name: str) -> str:
    """A name in sfdisk's script. Source: libfdisk, script.c: \\xHH, as printf has it."""
    return name.replace("\\", "\\x5c").replace('"', "\\x22")


def _format(place: Place, key: str, identity: Identity, output: Path, toolbox: Toolbox) -> None:
    match place.holds:
        case Holds.ESP | Holds.FAT:
            _format_fat(place, key, identity, output, toolbox)
        case Holds.EXT4:
            _format_ext4(place, key, identity, output, toolbox)
        case Holds.EMPTY:
            pass


def _format_fat(place: Place, key: str, identity: Identity, output: Path, toolbox: Toolbox) -> None:
    fat = place.fat
    assert fat is not None
    label = place.label or (LABEL if place.holds is Holds.ESP else "")
    words: list[str | Path] = [
        "--invariant",
        "-a",
        *("-F", str(fat.bits)),
        *("-s", str(fat.cluster // SECTOR)),
        *("-S", str(SECTOR)),
        *(("-r", str(ROOT_ENTRIES)) if fat.bits == 16 else ()),
        *("-h", str(place.start // SECTOR)),
        *("-i", identity.volume(key)),
        *(("-n", label) if label else ()),
        f"--offset={place.start // SECTOR}",
        output,
        str(fat.sectors * SECTOR // BLOCK),
    ]
    toolbox.run("mkfs.fat", words, what=f"formatting the {place.name or 'ESP'} partition")


def _format_ext4(
    place: Place, key: str, identity: Identity, output: Path, toolbox: Toolbox
) -> None:
    """Make an ext4 file system in place; the disk is new, so its tables are zero already."""
    extended = (
        f"offset={place.start},root_owner=0:0,nodiscard,assume_storage_prezeroed=1,"
        f"hash_seed={identity.guid(f'{key} hash')}"
    )
    words: list[str | Path] = [
        *("-t", "ext4", "-q", "-F", "-m", "0"),
        *("-U", identity.guid(f"{key} file system")),
        *(("-L", place.label) if place.label else ()),
        *("-E", extended),
        output,
        f"{place.size // BLOCK}k",
    ]
    toolbox.run("mke2fs", words, what=f"formatting the {place.name} partition")


__all__ = ["START", "Identity", "esp_number", "make_disk", "make_esp", "on_esp"]
