"""Contents of an EFI file that starts a host: sections of a UKI as systemd's stub takes them, or
Xen's.

Source: UAPI group, Unified Kernel Image (UKI); systemd, src/boot/stub.c, src/boot/pe.c;
systemd-stub(7).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.formats.pe import FIX, PeSection, read_machine, read_sections, require_known_bytes
from minbuild.formats.xen_image import is_xen_image, read_xen_image

MAX_UKI_SIZE = 2 << 30
"""Bytes of the largest UKI that is read."""
PROFILE_SECTION = ".profile"
CODE_SECTIONS = (".linux", ".initrd", ".ucode", ".dtb", ".dtbauto")
"""What decides which code runs, one section of a name for each profile."""
FILLED_SECTIONS = (".initrd", ".ucode", ".cmdline", ".uname", ".profile")
"""What stands in the file as long as it is; a kernel asks for more memory than it has bytes."""
DEVICE_SECTIONS = (".dtb", ".dtbauto", ".hwids")
"""Data that tells the kernel of the machine."""
FIRMWARE_SECTION = ".efifw"


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
    device_sections: Mapping[str, int]
    """Bytes of sections that tell the kernel of the machine, by name; of Xen's image its microcode."""
    xen: bytes = b""
    """The hypervisor that starts the kernel, without the others; empty where there is none."""
    xen_cmdlines: tuple[str, ...] = ()
    """The hypervisor's own command lines, as `cmdlines`."""


def read_uki(data: bytes, where: str) -> Uki:
    """Take what the stub would.

    Raises: ToolError when it is no UKI, when its profiles start different code, or when it holds
    bytes that nobody can account for.
    """
    if len(data) > MAX_UKI_SIZE:
        raise _make_uki_error("it is larger than what is read", where)
    pe_sections = read_sections(data, where)
    if is_xen_image(one.name for one in pe_sections):
        return _read_xen(data, where)
    require_known_bytes(data, pe_sections, where)
    profiles = [_index_by_name(one) for one in _split_profiles(pe_sections)]
    default = profiles[0]
    for name in (".linux", ".initrd"):
        if not default.get(name):
            raise ToolError(f"the UKI has no section {name}", where=where, fix=FIX)
    _require_one_host(pe_sections, profiles, where)
    device_sections: dict[str, int] = {}
    for section in pe_sections:
        if section.name in DEVICE_SECTIONS:
            size = device_sections.get(section.name, 0) + len(section.data)
            device_sections[section.name] = size
    ucode = default.get(".ucode", b"")
    return Uki(
        default[".linux"],
        ucode + bytes(-len(ucode) % 4) + default[".initrd"],
        tuple(dict.fromkeys(_decode_text(one.get(".cmdline", b"")) for one in profiles)),
        _decode_text(default.get(".uname", b"")),
        read_machine(data, where),
        device_sections,
    )


def _read_xen(data: bytes, where: str) -> Uki:
    image = read_xen_image(data, where)
    return Uki(
        image.kernel,
        image.ramdisk,
        image.cmdlines,
        read_linux_release(image.kernel),
        read_machine(data, where),
        image.others,
        image.xen,
        image.options,
    )


def read_linux_release(linux: bytes) -> str:
    """The release in the header of an x86 kernel; "" where there is none.

    Source: Linux, Documentation/arch/x86/boot.rst, kernel_version.
    """
    if linux[0x202:0x206] != b"HdrS":
        return ""
    start = 0x200 + int.from_bytes(linux[0x20E:0x210], "little")
    text = linux[start : start + 128].partition(b"\0")[0].partition(b" ")[0]
    return text.decode("ascii", "replace")


def _require_one_host(
    pe_sections: Sequence[PeSection], profiles: Sequence[Mapping[str, bytes]], where: str
) -> None:
    if any(one.name == FIRMWARE_SECTION for one in pe_sections):
        raise _make_uki_error(
            "it replaces the machine's firmware (.efifw), which nobody measures", where
        )
    for name in CODE_SECTIONS:
        if any(one.get(name) != profiles[0].get(name) for one in profiles):
            raise _make_uki_error(
                f"its profiles differ in {name}: it is several hosts in one", where
            )
    for section in pe_sections:
        if section.size > len(section.data) and section.name in FILLED_SECTIONS:
            raise _make_uki_error(
                f"section {section.name} says that it is longer than it is", where
            )


def read_uki_sections(data: bytes, where: str) -> dict[str, bytes]:
    """The sections of a PE file by name, each cut to its true size; of several the first.

    Raises: ToolError when it is no PE file or is damaged.
    """
    return _index_by_name(read_sections(data, where))


def read_uki_file(image: Path) -> Uki:
    """Take what the stub would of the UKI `image`.

    Raises: ToolError, also when it cannot be read.
    """
    return read_uki(_read_image(image), str(image))


def _split_profiles(pe_sections: Sequence[PeSection]) -> list[tuple[PeSection, ...]]:
    """What each profile sees, the default first: its own sections, then those before all profiles."""
    base = tuple(takewhile(lambda section: section.name != PROFILE_SECTION, pe_sections))
    profile_sections: list[list[PeSection]] = []
    for section in pe_sections[len(base) :]:
        if section.name == PROFILE_SECTION:
            profile_sections.append([])
        profile_sections[-1].append(section)
    return [(*profile, *base) for profile in profile_sections] or [base]


def _index_by_name(pe_sections: Sequence[PeSection]) -> dict[str, bytes]:
    by_name: dict[str, bytes] = {}
    for section in pe_sections:
        by_name.setdefault(section.name, section.data)
    return by_name


def _read_image(image: Path) -> bytes:
    try:
        if image.stat().st_size > MAX_UKI_SIZE:
            raise _make_uki_error("it is larger than what is read", str(image))
        return image.read_bytes()
    except OSError as error:
        raise ToolError(
            f"cannot read the image: {error.strerror}", where=str(image), fix=FIX
        ) from error


def _decode_text(data: bytes) -> str:
    return data.partition(b"\0")[0].rstrip(b"\n").decode("utf-8", "replace")


def _make_uki_error(problem: str, where: str) -> ToolError:
    return ToolError(f"the UKI cannot be measured: {problem}", where=where, fix=FIX)
