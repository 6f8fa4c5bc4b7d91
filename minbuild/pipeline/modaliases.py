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


def explain_missing_drivers(
    names: Sequence[LocatedName], absent: Container[str], kernel: str
) -> Iterator[str]:
    """Count the devices of a list that this kernel has no driver for.

    `names`: the list; `absent`: what no module serves. Every machine has some (its bridges, its
    buttons); USB controllers are named, and those of disks and networks are an error of the resolver.
    """
    lacking = [name for name in names if name.text in absent]
    controllers = [name for name in lacking if _USB_CONTROLLER.match(name.text)]
    for name in controllers:
        yield f"{name.where}: USB controller {name.text} has no driver in the kernel {kernel}"
    other_count = len(lacking) - len(controllers)
    if other_count:
        yield f"{names[0].where.file}: {other_count} more of its {len(names)} devices have no driver here"


_USB_CONTROLLER = re.compile(r"pci:v[0-9A-F]{8}d[0-9A-F]{8}.*bc0Csc03")
"""Source: pci.ids, "C" lines."""


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
