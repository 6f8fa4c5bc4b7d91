"""The devices of a running machine, as the kernel names them to modprobe."""

import os
import re
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.manifest.model import LocatedName

HEADER = "# modaliases of the devices of a machine, gathered by minbuild hardware\n"


def list_modaliases(top: Path) -> str:
    """List the modaliases below a sysfs, one a line, sorted and without repeats.

    Source: Documentation/ABI/testing/sysfs-devices-modalias and its like: `modalias`.
    Raises: ToolError when nothing there has one.
    """
    aliases = sorted(set(_walk_modaliases(top / "devices")))
    if not aliases:
        raise ToolError(
            "no device here says what driver it wants", where=str(top / "devices"),
            fix="run it on the machine itself, where /sys is mounted; or name a copy: --sys DIR",
        )  # fmt: skip
    return HEADER + "".join(f"{alias}\n" for alias in aliases)


PCI_CLASSES = {"01": "storage", "02": "network", "0c03": "USB"}
"""PCI classes of devices that a host hardly does without. Source: pci.ids, "C" lines."""
_PCI_ALIAS = re.compile(r"pci:v[0-9A-F]{8}d[0-9A-F]{8}.*bc([0-9A-F]{2})sc([0-9A-F]{2})")
CLOUD_KERNEL = "cloud"
"""In names of kernels that know devices of virtual machines alone."""


def explain_missing_drivers(
    names: Sequence[LocatedName], absent: Container[str], kernel: str
) -> Iterator[str]:
    """Say of a list's devices which of them this kernel has no driver for.

    `names`: the list; `absent`: what no module serves. Every machine has devices without one (its
    bridges, its buttons), which are counted; controllers of disks and networks are named.
    """
    lacking = [name for name in names if name.text in absent]
    important = [(kind, name) for name in lacking if (kind := _find_device_class(name.text))]
    for kind, name in important:
        yield f"{name.where}: {kind} device {name.text} has no driver in the kernel {kernel}"
    if important and CLOUD_KERNEL in kernel:
        yield "a kernel for machines of iron has more drivers: kernel: {package: linux-image-amd64}"
    other_count = len(lacking) - len(important)
    if other_count:
        yield f"{names[0].where.file}: {other_count} more of its {len(names)} devices have no driver here"


def _find_device_class(alias: str) -> str:
    match = _PCI_ALIAS.match(alias)
    if match is None:
        return ""
    base, sub = match[1].lower(), match[2].lower()
    return PCI_CLASSES.get(base + sub) or PCI_CLASSES.get(base, "")


def _walk_modaliases(top: Path) -> Iterator[str]:
    for directory, _, names in os.walk(top):
        if "modalias" in names:
            try:
                text = (Path(directory) / "modalias").read_text("utf-8", "replace").strip()
            except OSError:  # the device has gone since it was listed
                continue
            # an input device's alias may hold a blank, which no list of words can
            if text and not any(character.isspace() for character in text):
                yield text
