"""The devices of a running machine, as the kernel names them to modprobe."""

import os
from collections.abc import Iterator
from pathlib import Path

from minbuild.errors import ToolError
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
