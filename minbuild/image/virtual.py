"""Disk images of hypervisors, made of the raw disk by qemu-img: the same bytes each time."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minbuild.image import identifiers
from minbuild.image.disk import Identity
from minbuild.manifest.types import ImageFormat
from minbuild.toolbox.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class Kind:
    """How qemu-img writes a format, and what it draws at random there."""

    options: str
    patch: identifiers.Patch | None
    driver: str = ""
    """qemu-img's name of the format; "" where it is ours."""


KINDS: Mapping[ImageFormat, Kind] = {
    ImageFormat.QCOW2: Kind("compat=1.1,cluster_size=64k", None),
    ImageFormat.VHDX: Kind("subformat=dynamic,block_size=1M,log_size=1M", identifiers.vhdx),
    ImageFormat.VMDK: Kind("subformat=monolithicSparse", identifiers.vmdk),
    # what ESXi imports; it has no IDE disks to start from
    ImageFormat.VMDK_STREAM: Kind(
        "subformat=streamOptimized,adapter_type=lsilogic", identifiers.vmdk, "vmdk"
    ),
    ImageFormat.VDI: Kind("static=off", identifiers.vdi),
}


def make_virtual(
    kind: ImageFormat, raw: Path, identity: Identity, output: Path, toolbox: Toolbox
) -> None:
    """Write the disk `raw` to `output` in a hypervisor's format.

    Raises: ToolError when qemu-img fails.
    """
    how = KINDS[kind]
    words: list[str | Path] = [
        "convert",
        "-q",
        "-f",
        "raw",
        "-O",
        how.driver or str(kind),
        "-m",
        "1",
    ]
    # by their own names: a VMDK holds that of its file
    words += ["-o", how.options, raw, output.name]
    toolbox.run("qemu-img", words, what=f"writing {output.name}", cwd=output.parent)
    if how.patch is not None:
        identifiers.fix(output, how.patch, identity)
