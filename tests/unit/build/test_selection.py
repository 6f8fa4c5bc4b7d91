"""A lock pins no tool that nobody asked for."""

from minbuild.build.selection import named, selected
from minbuild.manifest.tools import load_tools
from minbuild.manifest.types import DiskWish, Holds, ImageFormat, ImageWish, Partition, Where

SPECIAL = {
    "e2fsck",
    "fsck.erofs",
    "grub-mkimage",
    "lz4",
    "lzop",
    "qemu-img",
    "rpm",
    "sbsign",
    "sqfs2tar",
    "xorriso",
}


def names(wish: ImageWish, *, lab: bool) -> set[str]:
    return {tool.name for tool in selected(wish, lab=lab)}


def test_the_usual_formats_do_without_the_tools_of_others() -> None:
    assert names(ImageWish(), lab=True) == {tool.name for tool in load_tools()} - SPECIAL
    assert "mke2fs" not in names(ImageWish(), lab=False)
    assert {"xz", "zstd", "ukify", "sfdisk"} <= names(ImageWish(), lab=False)


def test_a_format_brings_its_tool() -> None:
    assert names(ImageWish((ImageFormat.ISO,)), lab=False) & SPECIAL == {"xorriso"}
    assert names(ImageWish((ImageFormat.VDI,)), lab=False) & SPECIAL == {"qemu-img"}
    all_but_signing = {tool.name for tool in load_tools()} - {
        "e2fsck",
        "fsck.erofs",
        "lz4",
        "lzop",
        "rpm",
        "sbsign",
        "sqfs2tar",
    }
    every = ImageWish(tuple(ImageFormat), disk=DiskWish(bios=True))
    assert names(every, lab=True) == all_but_signing


def test_a_partition_brings_the_tool_that_formats_it() -> None:
    where = Where("host.yaml", 1, 1)
    disk = DiskWish(None, (Partition(where, Holds.ESP), Partition(where, Holds.EXT4, size=1 << 24)))
    assert "mke2fs" in names(ImageWish(disk=disk), lab=False)


def test_a_disk_for_a_bios_brings_the_boot_loader() -> None:
    assert "grub-mkimage" in names(ImageWish(disk=DiskWish(bios=True)), lab=False)


def test_every_format_can_be_selected_alone() -> None:
    for each in ImageFormat:
        assert "ukify" in names(ImageWish((each,)), lab=False)


def test_a_tool_is_found_by_its_name() -> None:
    assert [tool.name for tool in named("xorriso")] == ["xorriso"]
    assert named("nothing") == ()
