"""Which tools a build locks and lays down: none that only formats ask for that nobody wants."""

from minbuild.image import formats, sign
from minbuild.manifest.tools import load_tools
from minbuild.manifest.types import (
    Compression,
    DiskWish,
    Holds,
    ImageFormat,
    ImageWish,
    Partition,
    Tool,
    Where,
)

ALWAYS = (ImageFormat.UKI, ImageFormat.RAW)
"""Formats whose tools every lock pins, so that it serves the usual formats and the lab."""
BY_NAME = frozenset({"e2fsck", "fsck.erofs", "lz4", "lzop", "rpm", "sqfs2tar"})
"""They read what a build starts from: no lock pins them, they are the newest."""
ANY_DISK = DiskWish(
    partitions=tuple(Partition(Where("", 1, 1), holds) for holds in Holds),
    bios=True,
)


def selected(image: ImageWish, *, lab: bool) -> tuple[Tool, ...]:
    """The tools that write what `image` asks for, and with `lab` those that boot it.

    Every compression's is among them, since the command line may ask for another one.
    """
    wanted = _named((*ALWAYS, *image.formats), image.disk)
    special = _named(tuple(ImageFormat), ANY_DISK) - wanted
    special |= BY_NAME
    if image.sign is None:
        special.add(sign.TOOL)
    return tuple(
        tool
        for tool in load_tools()
        if tool.name in wanted or (lab if tool.lab else tool.name not in special)
    )


def named(name: str) -> tuple[Tool, ...]:
    """The one tool of that name, if there is one."""
    return tuple(tool for tool in load_tools() if tool.name == name)


def _named(wanted: tuple[ImageFormat, ...], disk: DiskWish) -> set[str]:
    return {name for how in Compression for name in formats.tools(wanted, how, disk)}
