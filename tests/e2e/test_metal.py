"""metal.yaml in the lab's server: Debian's generic kernel, no device of virtio."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.formats.uki import read_uki_sections
from minbuild.lab.boot import boot_image
from minbuild.lab.model import (
    BootProbe,
    BootRequest,
    BootResult,
    Firmware,
    LineSource,
    Machine,
    ProbePattern,
)
from minbuild.lab.probes import list_manifest_probes
from minbuild.manifest.loader import read_manifest
from minbuild.progress import SilentProgress
from tests.e2e.small_host import minbuild
from tests.e2e.test_manifests import LIMIT, list_failures
from tests.support.lab import STORE, make_boot_setup
from tests.unit.toolbox.real import toolbox

MANIFEST = Path(__file__).with_name("metal") / "server.yaml"
pytestmark = [pytest.mark.mirror, pytest.mark.boot, pytest.mark.xdist_group("metal")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk image of metal.yaml with a step that mounts the lab's disks."""
    directory = tmp_path_factory.mktemp("metal")
    argv = ("--compression", "zstd", "--output", "server", "--store", str(STORE))
    ended = minbuild("make", str(MANIFEST), *argv, "--lock", "server.lock", cwd=directory)
    assert ended.code == 0, ended.err
    return directory / "server" / "server.raw"


@pytest.mark.long
def test_a_list_of_one_servers_devices_keeps_to_its_budget(tmp_path: Path) -> None:
    """Its drivers, firmware and microcode alone, packed as it is released."""
    manifest = MANIFEST.with_name("rack.yaml")
    argv = ("--output", "rack", "--lock", "rack.lock", "--store", str(STORE))
    ended = minbuild("make", str(manifest), *argv, cwd=tmp_path)
    assert ended.code == 0, ended.err
    rows = json.loads((tmp_path / "rack" / "footprint.json").read_text())["files"]
    names = {row["path"].rpartition("/")[2] for row in rows}
    assert {"igb.ko.xz", "i40e.ko.xz", "megaraid_sas.ko.xz", "kvm-intel.ko.xz"} <= names
    assert names.isdisjoint({"mlx5_core.ko.xz", "ice.ko.xz", "kvm-amd.ko.xz", "mgag200.ko.xz"})
    assert "GenuineIntel.bin" in names
    assert "AuthenticAMD.bin" not in names
    uki = read_uki_sections((tmp_path / "rack" / "rack.efi").read_bytes(), "rack.efi")
    assert b"kernel/x86/microcode/GenuineIntel.bin" in uki[".ucode"][:1024]


def make_disks(directory: Path) -> tuple[Path, ...]:
    """A FAT stick and two ext4 disks, each with a file `hello`."""
    (directory / "tree").mkdir()
    hello = directory / "tree" / "hello"
    hello.write_text("hello\n")
    disks = [directory / name for name in ("stick.img", "raid.img", "sata.img")]
    for disk in disks:
        with disk.open("wb") as file:
            file.truncate(8 << 20)
    box = toolbox()
    box.run("mkfs.fat", ["-n", "STICK", disks[0]], purpose="making a stick")
    box.run("mcopy", ["-i", disks[0], hello, "::hello"], purpose="filling a stick")
    for label, disk in zip(("RAID", "SATA"), disks[1:], strict=True):
        argv: list[str | Path] = [
            "-t",
            "ext4",
            "-F",
            "-q",
            "-L",
            label,
            "-d",
            directory / "tree",
            disk,
        ]
        box.run("mke2fs", argv, purpose="making a disk")
    return tuple(disks)


def expect_line(pattern: str) -> BootProbe:
    sign = ProbePattern(LineSource.CONSOLE, re.compile(f"minbuild: {pattern}"))
    return BootProbe(pattern, (sign,), LIMIT, "a card has another name")


NAMED_CARDS = (
    expect_line(r"link-names: wan is pci-\S+, 52:54:00:6d:62:03, e1000e "),
    expect_line(r"link-names: lan is pci-\S+, 52:54:00:6d:62:01, e1000e "),
    expect_line(r"link-names: 4 cards named, 0 failed"),
    expect_line(r"network: br0 up on wan \(52:54:00:6d:62:03\)"),
    expect_line(r"bridges: br1 up on lan"),
)


def boot(
    server: Path,
    firmware: Firmware,
    *names: str,
    disks: tuple[Path, ...] = (),
    lines: tuple[BootProbe, ...] = (),
) -> BootResult:
    manifest = read_manifest(MANIFEST, settings={}, components=())
    probes = tuple(
        replace(one, limit=LIMIT) for one in list_manifest_probes(manifest) if one.name in names
    )
    assert len(probes) == len(names)
    request = BootRequest(
        server, (*probes, *lines), firmware=firmware, machine=Machine.METAL, cards=4, disks=disks,
        memory=1536, timeout=LIMIT,
    )  # fmt: skip
    setup = make_boot_setup(server)
    return boot_image(request, setup.toolbox, SilentProgress())


def test_a_server_mounts_every_kind_of_disk_by_uefi(server: Path, tmp_path: Path) -> None:
    """Data on ext4 and NVMe (the guest is there), FAT on USB, ext4 behind MegaRAID and on AHCI."""
    names = ("disks", "board", "dhcp", "guest")
    result = boot(server, Firmware.UEFI, *names, disks=make_disks(tmp_path))
    assert list_failures(result) == {}


def test_a_server_starts_by_bios_and_its_cards_have_their_names(server: Path) -> None:
    result = boot(server, Firmware.BIOS, "dhcp", "board", lines=NAMED_CARDS)
    assert list_failures(result) == {}
