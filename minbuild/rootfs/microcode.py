"""Microcode of processors: the files of packages joined into what the kernel reads before all else.

Source: Linux Documentation/arch/x86/microcode.rst (early load: an archive before the initramfs, not
compressed); arch/x86/kernel/cpu/microcode/intel.c and amd.c; systemd-stub(7), ".ucode".
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from minbuild.cache.store import Store
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import Component
from minbuild.paths import RootPath, list_parents
from minbuild.resolve.model import Need, NeedKind
from minbuild.rootfs.model import RootfsNode

MICROCODE_DIRECTORY = RootPath("/kernel/x86/microcode")


@dataclass(frozen=True, slots=True)
class Vendor:
    """The microcode of one maker of processors."""

    firmware: str
    """Directory of the packages' files, without the last slash."""
    joined: RootPath
    """The one file that the kernel reads."""
    number: int
    """Of the maker in a processor's modalias. Source: asm/processor.h, X86_VENDOR_*."""


VENDORS = (
    Vendor("/usr/lib/firmware/amd-ucode", RootPath(f"{MICROCODE_DIRECTORY}/AuthenticAMD.bin"), 2),
    Vendor("/usr/lib/firmware/intel-ucode", RootPath(f"{MICROCODE_DIRECTORY}/GenuineIntel.bin"), 0),
)
_PROCESSOR = re.compile(r"cpu:type:x86,ven([0-9A-F]{4})fam([0-9A-F]{4})mod([0-9A-F]{4}):")
"""Source: arch/x86/kernel/cpu/match.c and cpu/bugs; Documentation/ABI/testing/sysfs-devices-system-cpu."""
_INTEL_NAME = re.compile(r"([0-9a-f]{2})-([0-9a-f]{2})-[0-9a-f]{2}(?:_.*)?")
"""FAMILY-MODEL-STEPPING. Source: iucode_tool(8)."""
_AMD_NAME = re.compile(r"microcode_amd(?:_fam([0-9a-f]{2})h)?\.bin")
AMD_COMMON_FAMILIES = range(0x10, 0x15)
"""Families of the file without one in its name. Source: linux-firmware, amd-ucode/README."""


def list_processors(components: Iterable[Component]) -> tuple[tuple[int, int, int], ...]:
    """Vendor, family and model of each processor in their lists of devices; sorted."""
    matches = (_PROCESSOR.match(device.text) for part in components for device in part.hardware)
    numbers = (tuple(int(number, 16) for number in match.groups()) for match in matches if match)
    return tuple(sorted({(vendor, family, model) for vendor, family, model in numbers}))


def serves_processor(vendor: Vendor, name: str, processors: Sequence[tuple[int, int, int]]) -> bool:
    """Tell whether a file of microcode is for one of the processors, or there is no list of them."""
    if not processors:
        return True
    intel, amd = _INTEL_NAME.fullmatch(name), _AMD_NAME.fullmatch(name)
    for number, family, model in processors:
        if number != vendor.number:
            continue
        if intel is not None and (int(intel[1], 16), int(intel[2], 16)) == (family, model):
            return True
        if amd is not None and (
            family == int(amd[1], 16) if amd[1] else family in AMD_COMMON_FAMILIES
        ):
            return True
    return False


def join_microcode(
    components: Sequence[Component],
    nodes: Mapping[RootPath, RootfsNode],
    needs: Iterable[Need],
    store: Store,
) -> tuple[dict[RootPath, RootfsNode], list[Need]]:
    """Put one file for each maker in place of the files of components with `microcode: true`.

    Returns: nodes by path, and the needs without those of files that are gone.
    """
    names = {part.name for part in components if part.microcode}
    kept, edges = dict(nodes), list(needs)
    processors = list_processors(components)
    for vendor in VENDORS:
        files = [
            node
            for node in nodes.values()
            if node.component in names and node.path.startswith(f"{vendor.firmware}/")
        ]
        if not files:
            continue
        gone = {node.path for node in files}
        firmware = RootPath(vendor.firmware)
        chosen = [
            node
            for node in sorted(files, key=lambda node: node.path)
            if node.kind is FileType.FILE
            and serves_processor(vendor, node.path.rpartition("/")[2], processors)
        ]
        kept = {path: node for path, node in kept.items() if path not in gone}
        edges = [need for need in edges if not {need.path, need.needed_by} & gone]
        if chosen:
            _add_joined(vendor, chosen, kept, edges, store)
        edges = _drop_unneeded([*list_parents(firmware), firmware], kept, edges)
    return kept, edges


def _add_joined(
    vendor: Vendor,
    chosen: Sequence[RootfsNode],
    nodes: dict[RootPath, RootfsNode],
    needs: list[Need],
    store: Store,
) -> None:
    content = b"".join(store.require(node.sha256) for node in chosen)
    first = chosen[0]
    nodes[vendor.joined] = replace(
        first, path=vendor.joined, size=len(content), sha256=store.add(content), mode=0o644
    )
    count = f"{len(chosen)} file{'s' if len(chosen) > 1 else ''} of {vendor.firmware}, joined"
    needs.append(Need(vendor.joined, first.component, NeedKind.GENERATED, count))
    child = vendor.joined
    for parent in reversed(list_parents(vendor.joined)):
        nodes.setdefault(
            parent,
            replace(
                first,
                path=parent,
                kind=FileType.DIRECTORY,
                mode=0o755,
                size=0,
                sha256="",
                package="",
            ),
        )
        needs.append(Need(parent, child, NeedKind.PARENT, "directory"))
        child = parent


def _drop_unneeded(
    directories: Sequence[RootPath], nodes: dict[RootPath, RootfsNode], needs: list[Need]
) -> list[Need]:
    """Leave out those of `directories`, each in the one before it, that nothing needs any more.

    Returns: the needs without theirs.
    """
    for directory in reversed(directories):
        if any(need.path == directory for need in needs):
            break
        nodes.pop(directory, None)
        needs = [need for need in needs if need.needed_by != directory]
    return needs
