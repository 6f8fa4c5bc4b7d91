"""The elements minbuild-trim and minbuild-boot in real runs of disk-image-create."""

import json
import tarfile
from pathlib import Path

import pytest

from minbuild.data import data_directory
from tests.dib.builder import Builder
from tests.dib.installed import as_tar
from tests.e2e.small_host import PACKAGES, Small

pytestmark = pytest.mark.oracle


def write_distribution(builder: Builder) -> None:
    """An element that installs a root, with what real ones run later on."""
    (builder.directory / "distribution.tar").write_bytes(as_tar(PACKAGES))
    builder.element(
        "distribution",
        element_provides="operating-system\n",
        root__10_distribution=(
            "tar -C $TARGET_ROOT -xpf $DISTRIBUTION\n"
            "mkdir -p $TARGET_ROOT/{dev,proc,sys,root,var/log}\n"
            "echo more > $TARGET_ROOT/usr/sbin/policy\n"
            "mkdir -p $CACHE $TARGET_ROOT/var/cache/packages\n"
            "touch $CACHE/kept $TARGET_ROOT/var/cache/packages/hidden\n"
            "mount --bind $CACHE $TARGET_ROOT/var/cache/packages\n"
        ),
        cleanup__50_policy="rm $TARGET_ROOT/usr/sbin/policy",
        finalise__50_inside="echo this runs inside",
    )


def environment(builder: Builder, small: Small) -> dict[str, str]:
    return {
        "DISTRIBUTION": str(builder.directory / "distribution.tar"),
        "CACHE": str(builder.directory / "cache"),
        "DIB_MINBUILD_MANIFEST": str(small.write()),
        "MINBUILD_MIRROR": small.mirror,
        "MINBUILD_STORE": str(small.directory / "store"),
    }


def test_a_root_is_trimmed_and_explained(builder: Builder, small: Small) -> None:
    write_distribution(builder)
    ended = builder.run("-o", "host", "-t", "tar", "distribution", "minbuild-trim",
                        env=environment(builder, small))  # fmt: skip
    assert ended.code == 0, ended.out
    assert "left out: 50-inside" in ended.out
    assert (builder.directory / "cache" / "kept").exists()
    with tarfile.open(builder.directory / "host.tar") as tar:
        files = {member.name.removeprefix(".") for member in tar if member.isreg()}
    beside = builder.directory / "host.d" / "minbuild"
    footprint = json.loads((beside / "footprint.json").read_text(encoding="utf-8"))
    expected = {row["path"] for row in footprint["files"] if row["type"] == "file"}
    # dib's own: the file systems' table, and the build machine's devices
    assert {path for path in files - expected if not path.startswith("/dev/")} <= {"/etc/fstab"}
    assert expected <= files
    assert "libhello.so.1" in (beside / "why.txt").read_text(encoding="utf-8")
    assert builder.list_leftovers() == []


def test_a_root_that_lacks_something_fails_and_leaves_nothing(
    builder: Builder, small: Small
) -> None:
    write_distribution(builder)
    env = environment(builder, small)
    small.write("  - {package: nano, paths: [/usr/bin/nano]}\n")
    ended = builder.run("-o", "host", "-t", "tar", "distribution", "minbuild-trim", env=env)
    assert ended.code != 0
    assert "the root holds no /usr/bin/nano" in ended.out
    assert not (builder.directory / "host.tar").exists()
    assert builder.list_leftovers() == []


def test_the_file_that_boots_lies_where_uefi_looks(builder: Builder, small: Small) -> None:
    build = builder.directory / "build"
    build.mkdir()
    (build / "host.efi").write_bytes(b"MZ")
    layout = data_directory("elements") / "minbuild-boot" / "layouts" / "plain.yaml"
    env = {
        **environment(builder, small),
        "DIB_BLOCK_DEVICE_CONFIG": layout.as_uri(),
        "DIB_MINBUILD_BUILD": str(build),
    }
    write_distribution(builder)
    ended = builder.run("-o", "host", "-t", "tar", "distribution", "minbuild-boot", env=env)
    assert "this runs inside" not in ended.out
    assert ended.code != 0  # finalise.d runs inside the root, which has no bash
    (builder.elements / "distribution" / "finalise.d" / "50-inside").unlink()
    (builder.elements / "distribution" / "finalise.d").rmdir()
    ended = builder.run("-o", "host", "-t", "tar", "distribution", "minbuild-boot", env=env)
    assert ended.code == 0, ended.out
    with tarfile.open(builder.directory / "host.tar") as tar:
        assert "./boot/efi/EFI/BOOT/BOOTX64.EFI" in tar.getnames()
    assert builder.list_leftovers() == []


def test_the_partitioned_layout_is_one_that_dib_understands() -> None:
    import yaml

    path: Path = data_directory("elements") / "minbuild-boot" / "block-device-default.yaml"
    loop, table = yaml.safe_load(path.read_text(encoding="utf-8"))
    parts = table["partitioning"]["partitions"]
    assert loop["local_loop"]["name"] == table["partitioning"]["base"]
    assert [part["name"] for part in parts] == ["ESP", "root", "data"]
    assert parts[2]["mkfs"]["label"] == "minbuild-data"
