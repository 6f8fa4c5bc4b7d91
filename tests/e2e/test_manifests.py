"""The manifests that ship beside host.yaml, and host.yaml of other suites: built and booted."""

import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from minbuild.data import data_directory
from minbuild.lab.boot import boot_image
from minbuild.lab.model import BootProbe, BootRequest, BootResult, Firmware, ProbeState
from minbuild.lab.probes import list_manifest_probes
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.shipped_manifests import list_shipped
from minbuild.progress import SilentProgress
from tests.e2e.small_host import minbuild
from tests.support.lab import STORE, make_boot_setup
from tests.support.sample import sampled_feature, sampled_params
from tests.unit.toolbox.real import toolbox

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0zYk3nS0i1nqLr6h4Yp7bD1FZC0v5m8eJqv2x9T3Kc test"
"""No one has the other half."""
SECTOR = 512
LIMIT = 400
"""Seconds for each probe, on a machine that boots others beside this one."""
WITH_BUDGET = [
    name
    for name in list_shipped()
    if "\nbudget:" in (data_directory("manifests") / f"{name}.yaml").read_text("utf-8")
    and name != "tiny"
]
"""tiny compiles a kernel: tests/e2e/test_built_kernel.py."""

pytestmark = [pytest.mark.mirror, pytest.mark.boot]


@dataclass(frozen=True, slots=True)
class BuiltManifest:
    """A shipped manifest, built."""

    efi: Path
    raw: Path
    probes: tuple[BootProbe, ...]

    def boot(self, data: Path | None = None, probes: tuple[str, ...] = ()) -> BootResult:
        """Boot it without firmware; with `data` in place of the lab's data disk."""
        stage = make_boot_setup(self.efi)
        chosen = tuple(
            replace(one, limit=LIMIT) for one in self.probes if not probes or one.name in probes
        )
        request = BootRequest(
            self.efi, chosen, firmware=Firmware.DIRECT, data_disk=data, memory=1536, timeout=LIMIT
        )
        return boot_image(request, stage.toolbox, SilentProgress())


def build_shipped(directory: Path, name: str, **settings: str) -> BuiltManifest:
    """Build a shipped manifest in `directory`, packed fast."""
    argv = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    argv += ["--compression", "zstd"]
    ended = minbuild("make", f"{name}.yaml", *argv, "--store", str(STORE), cwd=directory)
    path = directory / "build" / name
    assert ended.code == 0, ended.err
    manifest = read_manifest(
        data_directory("manifests") / f"{name}.yaml", settings=settings, components=()
    )
    return BuiltManifest(path / f"{name}.efi", path / f"{name}.raw", list_manifest_probes(manifest))


def list_failures(result: BootResult) -> dict[str, str]:
    """The probes that did not pass, each with its detail; and why the boot ended."""
    failures = [one for one in result.outcomes if one.state is not ProbeState.PASSED]
    return {one.name: f"{one.detail} ({result.end_reason})" for one in failures}


def read_esp(disk: Path) -> bytes:
    """The first partition's bytes."""
    start, size = list_partitions(disk)[0]
    with disk.open("rb") as file:
        file.seek(start * SECTOR)
        return file.read(size * SECTOR)


def list_partitions(disk: Path) -> list[tuple[int, int]]:
    """First sector and length of each partition of a GPT. Source: UEFI 2.10, 5.3.3."""
    with disk.open("rb") as file:
        file.seek(2 * SECTOR)
        table = file.read(128 * 128)
    entries = [table[path : path + 128] for path in range(0, len(table), 128)]
    spans = [
        (int.from_bytes(entry[32:40], "little"), int.from_bytes(entry[40:48], "little"))
        for entry in entries
        if any(entry[:16])
    ]
    return [(first, last - first + 1) for first, last in spans]


@sampled_feature("first boot of edge")
def test_the_first_boot_of_edge_makes_its_data_partition(tmp_path: Path) -> None:
    edge = build_shipped(tmp_path, "edge", ssh_keys=f"[{KEY}]")
    disk = tmp_path / "disk.raw"
    shutil.copyfile(edge.raw, disk)
    os.truncate(disk, 300 << 20)
    result = edge.boot(disk, ("init", "dhcp", "kvm", "first-boot", "ssh", "watchdog"))
    assert list_failures(result) == {}
    assert any("minbuild-data made on /dev/vda2" in line.text for line in result.lines)
    assert read_esp(disk) == read_esp(edge.raw)
    _, (start, size) = list_partitions(disk)
    assert start % 2048 == 0
    with disk.open("rb") as file:
        file.seek(start * SECTOR + 1024)
        superblock = file.read(1024)
        file.seek(start * SECTOR)
        (tmp_path / "data").write_bytes(file.read(size * SECTOR))
        file.seek(-SECTOR, os.SEEK_END)
        assert file.read(8) == b"EFI PART"
    assert superblock[0x78:0x88].rstrip(b"\0") == b"minbuild-data"
    assert int.from_bytes(superblock[4:8], "little") * 4096 == size * SECTOR
    argv = ["tool", "--store", str(STORE), "sfdisk", "--verify", "disk.raw"]
    ended = minbuild(*argv, cwd=tmp_path)
    assert "No errors detected" in ended.out, ended.err
    # the lab pulled the plug: the journal is played first, as at the next boot
    assert run_checker(tmp_path, "e2fsck", "-p", "data")[0] in {0, 1}
    assert run_checker(tmp_path, "e2fsck", "-f", "-n", "data")[0] == 0
    assert "No problems found" in run_checker(tmp_path, "sgdisk", "-v", "disk.raw")[1]


def run_checker(directory: Path, name: str, *argv: str) -> tuple[int, str]:
    """Exit code and output of a reference tool."""
    box = toolbox()
    ended = subprocess.run(
        [*box.build_argv(name), *argv],
        cwd=directory,
        env=box.build_environment(),
        capture_output=True,
        text=True,
    )
    return ended.returncode, ended.stdout


@sampled_feature("another manifest")
@pytest.mark.parametrize(
    "name", sampled_params(["host-full", "debug", "host of bookworm", "host of forky"])
)
def test_what_ships_is_booted_and_the_host_from_other_suites(name: str, tmp_path: Path) -> None:
    name, _, suite = name.partition(" of ")
    built = build_shipped(tmp_path, name, **({"suite": suite} if suite else {}))
    # on a busy machine QEMU's emulation aborts under a guest by UEFI: see the next test
    asked = tuple(one.name for one in built.probes if one.name != "ovmf")
    assert list_failures(built.boot(probes=asked)) == {}


@pytest.mark.long
def test_host_full_runs_a_guest_by_uefi(tmp_path: Path) -> None:
    assert list_failures(build_shipped(tmp_path, "host-full").boot(probes=("ovmf",))) == {}


@pytest.mark.long
@pytest.mark.parametrize("name", WITH_BUDGET)
def test_what_ships_keeps_to_its_budget(name: str, tmp_path: Path) -> None:
    """Packed as it is released, which takes a while."""
    ended = minbuild("make", f"{name}.yaml", "--store", str(STORE), cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.out.count(" ok ") == 2
