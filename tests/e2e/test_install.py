"""A host that is started from its medium, installs itself unattended, and starts from the disk with a guest."""

import re
from pathlib import Path

import pytest

from minbuild.formats.uki import read_uki_file
from minbuild.lab.boot import boot_image
from minbuild.lab.credentials import Credential
from minbuild.lab.guest_images import make_guest_initramfs
from minbuild.lab.model import (
    BootProbe,
    BootRequest,
    BootResult,
    FaultInjection,
    LineSource,
    ProbePattern,
    ProbeState,
)
from minbuild.progress import SilentProgress
from tests.e2e.small_host import minbuild
from tests.support.lab import STORE, make_boot_setup
from tests.support.sample import sampled_feature
from tests.unit.toolbox.real import toolbox

pytestmark = [pytest.mark.mirror, pytest.mark.boot, pytest.mark.xdist_group("install")]

MANIFEST = """\
minbuild: 1
name: stick
extends: [host]
boot: {use: [install]}
image: {formats: [uki, raw], compression: zstd}
budget: {files: 80, packed: 30 MB}
"""
LIMIT = 300
MIB = 1 << 20


@pytest.fixture(scope="module")
def stick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The medium: a disk image with the UKI on its ESP."""
    path = tmp_path_factory.mktemp("stick")
    (path / "stick.yaml").write_text(MANIFEST)
    ended = minbuild("make", "stick.yaml", "--store", str(STORE), cwd=path)
    raw = path / "build" / "stick" / "stick.raw"
    assert raw.exists(), ended.err
    return raw


def boot(
    image: Path, lines: tuple[str, ...], tools: Path, disk: Path | None = None, install: str = ""
) -> BootResult:
    probes = tuple(
        BootProbe(line, (ProbePattern(LineSource.CONSOLE, re.compile(line)),), LIMIT, "not seen")
        for line in lines
    )
    told = (Credential("minbuild.install", install),) if install else ()
    request = BootRequest(
        image, probes, credentials=told, data_disk=disk, timeout=LIMIT,
        faults=FaultInjection(no_disk=disk is None, ignore_fatal_lines=True),
    )  # fmt: skip
    return boot_image(request, make_boot_setup(tools).toolbox, SilentProgress())


def list_missing(result: BootResult) -> dict[str, str]:
    return {one.name: one.detail for one in result.outcomes if one.state is not ProbeState.PASSED}


def write_guest(disk: Path, start: int, uki: Path, work: Path) -> None:
    """Put a guest onto the data partition that the installation made."""
    (work / "vmlinuz").write_bytes(read_uki_file(uki).linux)
    (work / "initrd").write_bytes(make_guest_initramfs())
    rows = ["kernel=vmlinuz", "initrd=initrd", "memory=128", "ready=minbuild-guest: up"]
    (work / "guest.conf").write_text("\n".join([*rows, ""]))
    commands = ["mkdir guests", "mkdir guests/tiny", "cd guests/tiny"]
    commands += [f"write {work / name} {name}" for name in ("vmlinuz", "initrd", "guest.conf")]
    (work / "commands").write_text("\n".join([*commands, ""]))
    args: list[str | Path] = ["-w", "-f", work / "commands", f"{disk}?offset={start}"]
    toolbox().run("debugfs", args, purpose="putting a guest onto the disk")


@sampled_feature("install")
def test_a_medium_installs_itself_and_the_disk_starts_with_a_guest(
    stick: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(192 * MIB)
    lines = (r"install: from /dev/vda to /dev/vdb", r"install: boot entry \w+ is the first",
             r"install: /dev/vdb is installed")  # fmt: skip
    assert list_missing(boot(stick, lines, stick.parent, disk, "/dev/vdb")) == {}
    size = stick.stat().st_size
    esp_end = size // MIB * MIB  # the copy of the table follows
    with disk.open("rb") as ours, stick.open("rb") as theirs:
        ours.seek(MIB)
        theirs.seek(MIB)
        assert ours.read(esp_end - MIB - 64 * 1024) == theirs.read(esp_end - MIB - 64 * 1024)
    efi = tmp_path / "installed.efi"
    args: list[str | Path] = ["-i", f"{disk}@@{MIB}", "::EFI/BOOT/BOOTX64.EFI", efi]
    toolbox().run("mcopy", args, purpose="reading the disk")
    assert efi.read_bytes() == stick.with_suffix(".efi").read_bytes()
    rows = toolbox().run("cgpt", ["show", "-i", "2", "-b", disk], purpose="reading the table")
    write_guest(disk, int(rows) * 512, stick.with_suffix(".efi"), tmp_path)
    started = (r"data: /dev/vda2 on /data", r"guest tiny: ready")
    assert list_missing(boot(disk, started, stick.parent)) == {}
