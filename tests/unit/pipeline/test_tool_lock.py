"""A lock pins no tool that nobody asked for."""

from minbuild.manifest.image_settings import (
    DiskSettings,
    ImageFormat,
    ImageSettings,
    PartitionSettings,
    PartitionType,
)
from minbuild.manifest.model import Location
from minbuild.manifest.shipped_manifests import load_tools
from minbuild.pipeline.lock_creation import find_tools, select_tools

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


def names(wish: ImageSettings, *, lab: bool) -> set[str]:
    return {tool.name for tool in select_tools(wish, lab=lab)}


def test_the_usual_formats_do_without_the_tools_of_others() -> None:
    assert names(ImageSettings(), lab=True) == {tool.name for tool in load_tools()} - SPECIAL
    assert "mke2fs" not in names(ImageSettings(), lab=False)
    assert {"xz", "zstd", "ukify", "sfdisk"} <= names(ImageSettings(), lab=False)


def test_a_format_brings_its_tool() -> None:
    assert names(ImageSettings((ImageFormat.ISO,)), lab=False) & SPECIAL == {"xorriso"}
    assert names(ImageSettings((ImageFormat.VDI,)), lab=False) & SPECIAL == {"qemu-img"}
    all_but_signing = {tool.name for tool in load_tools()} - {
        "e2fsck",
        "fsck.erofs",
        "lz4",
        "lzop",
        "rpm",
        "sbsign",
        "sqfs2tar",
    }
    every = ImageSettings(tuple(ImageFormat), disk=DiskSettings(bios=True))
    assert names(every, lab=True) == all_but_signing


def test_a_partition_brings_the_tool_that_formats_it() -> None:
    where = Location("host.yaml", 1, 1)
    disk = DiskSettings(
        None,
        (
            PartitionSettings(where, PartitionType.ESP),
            PartitionSettings(where, PartitionType.EXT4, size=1 << 24),
        ),
    )
    assert "mke2fs" in names(ImageSettings(disk=disk), lab=False)


def test_a_disk_for_a_bios_brings_the_boot_loader() -> None:
    assert "grub-mkimage" in names(ImageSettings(disk=DiskSettings(bios=True)), lab=False)


def test_every_format_can_be_selected_alone() -> None:
    for each in ImageFormat:
        assert "ukify" in names(ImageSettings((each,)), lab=False)


def test_a_tool_is_found_by_its_name() -> None:
    assert [tool.name for tool in find_tools("xorriso")] == ["xorriso"]
    assert find_tools("nothing") == ()
