"""Roots that a list of a machine's devices brings, and those that it makes needless."""

import re
from collections.abc import Iterator, Sequence

from minbuild.manifest.model import Section
from minbuild.paths import RootPath
from minbuild.resolve.kernel import InstalledKernel
from minbuild.resolve.model import NeedKind, Root

ESSENTIAL_CLASSES = {"01": "disk controller", "0200": "network card", "0207": "network card"}
"""Classes of PCI devices without whose driver a host has no disk or network. Source: pci.ids, "C" lines."""
_PCI_DEVICE = re.compile(
    r"pci:v[0-9A-F]{8}d[0-9A-F]{8}.*bc([0-9A-F]{2})sc([0-9A-F]{2})i[0-9A-F]{2}"
)
_LISTED_BUSES = ("pci", "cpu")
"""Buses whose devices a list has all of; what is plugged in later is on another."""


def find_essential_class(alias: str) -> str:
    """What a modalias of one PCI device is, where no host does without it; "" for all others."""
    match = _PCI_DEVICE.fullmatch(alias)
    if match is None:
        return ""
    return ESSENTIAL_CLASSES.get(match[1] + match[2]) or ESSENTIAL_CLASSES.get(match[1], "")


def narrow_to_devices(roots: Sequence[Root], kernel: InstalledKernel) -> Iterator[Root]:
    """Leave out modules that serve only devices which a list of a machine's devices has not.

    Without a list all roots stay. It concerns drivers of components: the groups of the section
    hardware by PCI device, and those of several that are for one processor each (KVM) by processor, where
    the list's processor is served by one of them. Where there are such groups, they say what is wanted
    (a server has sensors, sound and graphics, too): the list itself brings disk controllers and network
    cards alone.
    """
    has_groups = any(_is_of_group(root) for root in roots)
    devices = [root.text for root in roots if root.kind is NeedKind.MODULE and root.optional]
    served = {path for alias in devices for path in kernel.find_by_alias(alias).paths}
    by_processor = [root for root in roots if served and _find_bound_bus(root, kernel) == "cpu"]
    served_components = {
        root.component for root in by_processor if _find_paths(root, kernel) & served
    }
    for root in roots:
        if root.optional and has_groups and not find_essential_class(root.text):
            continue
        bus = _find_bound_bus(root, kernel) if devices else ""
        is_bound = (bus == "pci" and _is_of_group(root)) or (
            bus == "cpu" and root.component in served_components
        )
        if not is_bound or _find_paths(root, kernel) & served:
            yield root


def _is_of_group(root: Root) -> bool:
    return root.component.startswith(f"{Section.HARDWARE}/")


def _find_paths(root: Root, kernel: InstalledKernel) -> set[RootPath]:
    return set(kernel.find(root.text).paths)


def _find_bound_bus(root: Root, kernel: InstalledKernel) -> str:
    """The bus whose devices alone a root's modules serve; "" for modules without, or of several."""
    if root.kind is not NeedKind.MODULE or root.optional:
        return ""
    buses = {bus for path in _find_paths(root, kernel) for bus in kernel.list_buses(path)}
    # a card's driver may serve parts of the card as well, which are on a bus of their own
    return next((bus for bus in _LISTED_BUSES if buses - {"auxiliary"} == {bus}), "")
