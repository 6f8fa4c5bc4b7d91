"""What a Unified Kernel Image starts: the sections that systemd's stub takes, and how.

Source: UAPI group, Unified Kernel Image (UKI); systemd, src/boot/stub.c, src/boot/pe.c;
systemd-stub(7).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.lab.pe import FIX, Section, machine, read_sections, require_plain

LARGEST = 2 << 30
"""Bytes of the largest UKI that is read."""
PROFILE = ".profile"
RUN = (".linux", ".initrd", ".ucode", ".dtb", ".dtbauto")
"""What decides which code runs, one section of a name for each profile."""
FILLED = (".initrd", ".ucode", ".cmdline", ".uname", ".profile")
"""What stands in the file as long as it is; a kernel asks for more memory than it has bytes."""
DEVICES = (".dtb", ".dtbauto", ".hwids")
"""Data that tells the kernel of the machine."""
FIRMWARE = ".efifw"


@dataclass(frozen=True, slots=True)
class Uki:
    """What the stub takes of an image, whichever profile is chosen."""

    linux: bytes
    initrd: bytes
    """All that the kernel unpacks, microcode first, but what the stub makes of other sections."""
    cmdlines: tuple[str, ...]
    """The default's first, then those of other profiles that differ."""
    uname: str
    machine: int
    """As PE numbers it."""
    parts: Mapping[str, int]
    """Bytes of sections that tell the kernel of the machine, by name."""


def read_uki(data: bytes, where: str) -> Uki:
    """Take what the stub would.

    Raises: ToolError when it is no UKI, when its profiles start different code, or when it holds
    bytes that nobody can account for.
    """
    if len(data) > LARGEST:
        raise _refused("it is larger than what is read", where)
    found = read_sections(data, where)
    require_plain(data, found, where)
    each = [_first(one) for one in _profiles(found)]
    first = each[0]
    for name in (".linux", ".initrd"):
        if not first.get(name):
            raise ToolError(f"the UKI has no section {name}", where=where, fix=FIX)
    _require_one_host(found, each, where)
    parts: dict[str, int] = {}
    for one in found:
        if one.name in DEVICES:
            parts[one.name] = parts.get(one.name, 0) + len(one.data)
    ucode = first.get(".ucode", b"")
    return Uki(
        first[".linux"],
        ucode + bytes(-len(ucode) % 4) + first[".initrd"],
        tuple(dict.fromkeys(_text(one.get(".cmdline", b"")) for one in each)),
        _text(first.get(".uname", b"")),
        machine(data, where),
        parts,
    )


def _require_one_host(
    found: Sequence[Section], each: Sequence[Mapping[str, bytes]], where: str
) -> None:
    if any(one.name == FIRMWARE for one in found):
        raise _refused("it replaces the machine's firmware (.efifw), which nobody measures", where)
    for name in RUN:
        if any(one.get(name) != each[0].get(name) for one in each):
            raise _refused(f"its profiles differ in {name}: it is several hosts in one", where)
    for one in found:
        if one.size > len(one.data) and one.name in FILLED:
            raise _refused(f"section {one.name} says that it is longer than it is", where)


def sections(data: bytes, where: str) -> dict[str, bytes]:
    """The sections of a PE file by name, each cut to its true size; of several the first.

    Raises: ToolError when it is no PE file or is damaged.
    """
    return _first(read_sections(data, where))


def split(image: Path) -> tuple[bytes, bytes, str]:
    """Give the kernel, the initramfs and the command line of the UKI `image`.

    Raises: ToolError when it cannot be read, is damaged or lacks one of them.
    """
    found = read_uki(_read(image), str(image))
    return found.linux, found.initrd, found.cmdlines[0]


def line(image: Path) -> str:
    """Give the command line of the UKI `image`, of its default profile.

    Raises: ToolError when it cannot be read or is damaged.
    """
    data = _read(image)
    first = _first(_profiles(read_sections(data, str(image)))[0])
    return _text(first.get(".cmdline", b""))


def release(image: Path) -> str:
    """Give the kernel's release that the UKI `image` names; "" when it names none.

    Raises: ToolError when it cannot be read or is damaged.
    """
    return _text(sections(_read(image), str(image)).get(".uname", b""))


def _profiles(found: Sequence[Section]) -> list[tuple[Section, ...]]:
    """What each profile sees, the default first: its own sections, then those before all profiles."""
    base = tuple(takewhile(lambda one: one.name != PROFILE, found))
    own: list[list[Section]] = []
    for one in found[len(base) :]:
        if one.name == PROFILE:
            own.append([])
        own[-1].append(one)
    return [(*each, *base) for each in own] or [base]


def _first(found: Sequence[Section]) -> dict[str, bytes]:
    by_name: dict[str, bytes] = {}
    for one in found:
        by_name.setdefault(one.name, one.data)
    return by_name


def _read(image: Path) -> bytes:
    try:
        if image.stat().st_size > LARGEST:
            raise _refused("it is larger than what is read", str(image))
        return image.read_bytes()
    except OSError as error:
        raise ToolError(
            f"cannot read the image: {error.strerror}", where=str(image), fix=FIX
        ) from error


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].rstrip(b"\n").decode("utf-8", "replace")


def _refused(what: str, where: str) -> ToolError:
    return ToolError(f"the UKI cannot be measured: {what}", where=where, fix=FIX)
