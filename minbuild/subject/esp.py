"""Which file of an EFI System Partition a machine starts, and what it would read beside it.

Source: UEFI 2.10, 3.5.1.1 (what is started of a disk that nobody was told of); systemd-stub(7) and
systemd-boot(7) (what each reads beside itself).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minbuild.errors import MinbuildError
from minbuild.lab.pe import names
from minbuild.subject.fat import Fat, File

DEFAULTS = ("x64", "ia32", "aa64", "arm", "riscv64", "riscv32", "loongarch64")
"""BOOTX64.EFI and the like: one for each kind of machine. Source: UEFI 2.10, 3.5.1.1."""
STUB_READS = (("loader", "addons"), ("loader", "credentials"), ("loader", "extensions"))
BESIDE_IMAGE = ".extra.d"
LOADER_READS = (("loader", "entries"), ("loader", "keys"))
HEAD = 1 << 18
"""Bytes of a program that hold the table of its sections."""
TABLE = (1 << 16) + 8192
"""Most bytes of a PE header with all of its sections."""
LARGEST = 2 << 30


class Unclear(Exception):
    """What the machine starts is not one measured thing, with the reason."""


@dataclass(frozen=True, slots=True)
class Started:
    """A UKI that a machine starts from an ESP."""

    path: str
    uki: bytes
    others: Mapping[str, int]
    """Bytes of every other file on the ESP, by its path."""
    configs: Mapping[str, bytes]
    """GRUB's settings, by their path in lower case."""


def started(volume: Fat) -> Started | None:
    """The UKI that a machine starts; None when there is none on the ESP.

    Raises: Damage; Unclear when the ESP holds several things that a machine might run.
    """
    files = volume.files()
    programs = [one for one in files if volume.read(one, 2) == b"MZ"]
    ukis = [one for one in programs if _is_uki(volume, one)]
    if not ukis:
        return None
    first = _default(programs)
    image = first if first in ukis else ukis[0]
    loader = first if first is not None and first not in ukis else None
    _require_alone(image, loader, programs, volume)
    read = _read_beside(files, by_loader=loader is not None)
    if read:
        raise Unclear(f"what {image.path} starts also reads {', '.join(read[:3])}")
    if image.size > LARGEST:
        raise Unclear(f"{image.path} is larger than what is read")
    return Started(
        image.path,
        volume.read(image, LARGEST),
        {one.path: one.size for one in files if one is not image},
        {
            one.path.lower(): volume.read(one, HEAD)
            for one in files
            if one.path.lower().endswith("grub.cfg")
        },
    )


def _default(programs: Sequence[File]) -> File | None:
    """What firmware starts of itself. Raises: Unclear when that depends on the machine."""
    found = [
        one
        for one in programs
        for name in DEFAULTS
        if one.lies_at("efi", "boot", f"boot{name}.efi")
    ]
    if len(found) > 1:
        names = " and ".join(one.path for one in found)
        raise Unclear(f"{names} are for two kinds of machine, and each may be another host")
    return found[0] if found else None


def _require_alone(image: File, loader: File | None, programs: Sequence[File], volume: Fat) -> None:
    """Nothing else may be started: not by the firmware's own entries, nor by a boot loader."""
    same = volume.read(loader, LARGEST) if loader is not None else b""
    others = [
        one.path
        for one in programs
        if one is not image
        and one is not loader
        and not (
            loader is not None and one.size == loader.size and volume.read(one, LARGEST) == same
        )
    ]
    if others:
        raise Unclear(
            f"beside {image.path} there are other programs that a machine may start: "
            f"{', '.join(sorted(others)[:3])}"
        )


def _read_beside(files: Sequence[File], *, by_loader: bool) -> list[str]:
    places = (*STUB_READS, *(LOADER_READS if by_loader else ()))
    return sorted(
        one.path
        for one in files
        if any(one.lies_below(*place) for place in places)
        or any(name.endswith(BESIDE_IMAGE) for names in one.names[:-1] for name in names)
    )


def _is_uki(volume: Fat, program: File) -> bool:
    """Told by the table of sections, wherever in the file its header lies."""
    head = volume.read(program, HEAD)
    offset = int.from_bytes(head[0x3C:0x40], "little")
    if HEAD - TABLE < offset < program.size:
        head = volume.read(program, offset + TABLE)
    try:
        return ".linux" in names(head, "")
    except MinbuildError:
        return False
