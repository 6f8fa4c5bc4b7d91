"""The devices of a running machine, as the kernel names them to modprobe."""

import os
import re
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.manifest.types import Name
from minbuild.records import full_disk

HEAD = "# modaliases of the devices of a machine, gathered by minbuild hardware\n"


def gather(top: Path) -> str:
    """List the modaliases below a sysfs, one a line, sorted and without repeats.

    Source: Documentation/ABI/testing/sysfs-devices-modalias and its like: `modalias`.
    Raises: ToolError when nothing there has one.
    """
    found = sorted(set(_modaliases(top / "devices")))
    if not found:
        raise ToolError(
            "no device here says what driver it wants", where=str(top / "devices"),
            fix="run it on the machine itself, where /sys is mounted; or name a copy: --sys DIR",
        )  # fmt: skip
    return HEAD + "".join(f"{alias}\n" for alias in found)


CLASSES = {"01": "storage", "02": "network", "0c03": "USB"}
"""PCI classes of devices that a host hardly does without. Source: pci.ids, "C" lines."""
_PCI = re.compile(r"pci:v[0-9A-F]{8}d[0-9A-F]{8}.*bc([0-9A-F]{2})sc([0-9A-F]{2})")
CLOUD = "cloud"
"""In names of kernels that know devices of virtual machines alone."""


def undriven(names: Sequence[Name], absent: Container[str], kernel: str) -> Iterator[str]:
    """Say of a list's devices which of them this kernel has no driver for.

    `names`: the list; `absent`: what no module serves. Every machine has devices without one (its
    bridges, its buttons), which are counted; controllers of disks and networks are named.
    """
    lacking = [name for name in names if name.text in absent]
    told = [(kind, name) for name in lacking if (kind := _class_of(name.text))]
    for kind, name in told:
        yield f"{name.where}: {kind} device {name.text} has no driver in the kernel {kernel}"
    if told and CLOUD in kernel:
        yield "a kernel for machines of iron has more drivers: kernel: {package: linux-image-amd64}"
    rest = len(lacking) - len(told)
    if rest:
        yield f"{names[0].where.file}: {rest} more of its {len(names)} devices have no driver here"


def _class_of(alias: str) -> str:
    found = _PCI.match(alias)
    if found is None:
        return ""
    base, sub = found[1].lower(), found[2].lower()
    return CLASSES.get(base + sub) or CLASSES.get(base, "")


def write(text: str, output: Path) -> None:
    """Write a list, whole or not at all. Raises: ToolError when it cannot be written."""
    beside = output.with_name(f".{output.name}.{os.getpid()}")
    with full_disk(output.absolute().parent):
        try:
            beside.write_text(text, encoding="utf-8")
            os.replace(beside, output)
        finally:
            beside.unlink(missing_ok=True)


def _modaliases(top: Path) -> Iterator[str]:
    for directory, _, names in os.walk(top):
        if "modalias" in names:
            try:
                text = (Path(directory) / "modalias").read_text("utf-8", "replace").strip()
            except OSError:  # the device has gone since it was listed
                continue
            # an input device's alias may hold a blank, which no list of words can
            if text and not any(character.isspace() for character in text):
                yield text
