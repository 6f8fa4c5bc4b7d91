"""One boot of the full host with ordinary PCs on it: by UEFI, by a BIOS, and with a kernel."""

import re
import shutil

import pytest

from minbuild.lab.accel import OVMF_TIMER_WORKAROUND
from tests.e2e.guests.conftest import (
    FUNCTIONS,
    MANIFESTS,
    START,
    GuestBench,
    build_manifest,
    list_console_lines,
    list_section_lines,
    write_guest_conf,
)
from tests.support.lab import make_boot_setup, require_namespace

pytestmark = [pytest.mark.long, pytest.mark.mirror, pytest.mark.boot]

SCRIPT = r"""
case $1 in
start)
    until [ -d /run/guests ]; do nap 0.5; done
    # one after the other: an emulated processor can take no more
    for name in uefi bios direct; do
        vm start "$name"
        wait_for "$name" 'inside: ready'
        grep -a '^inside: \|BdsDxe: starting' "/run/guests/$name/console.log" | tell "$name"
        ls -ln "/data/guests/$name" | tell "files of $name"
        vm stop "$name"
        gone "$name"
        grep -a 'inside: the button' "/run/guests/$name/console.log" | tell "$name"
    done
    poweroff
    ;;
esac
"""


@pytest.fixture(scope="module")
def console_lines(bench: GuestBench, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the host said from power-on to power-off."""
    require_namespace(bench.stage.toolbox)
    path = tmp_path_factory.mktemp("pcs")
    shutil.copytree(MANIFESTS, path / "manifests")
    image = build_manifest(path / "manifests", "full") / "full.efi"
    full = GuestBench(make_boot_setup(image), bench.guest)
    tree = full.write_tree(path / "tree", FUNCTIONS + SCRIPT)
    rows = ["machine=q35", "memory=256", "ready=inside: ready", "autostart=no"]
    uefi = write_guest_conf(tree, "uefi", *rows, "firmware=uefi", "disk=inside.raw", "net=br0")
    bios = write_guest_conf(tree, "bios", *rows, "disk=inside.qcow2", "net=nat0")
    write_guest_conf(tree, "direct", *START, *rows)
    for guest, name in ((uefi, "inside.raw"), (bios, "inside.qcow2")):
        shutil.copyfile(bench.guest / name, guest / name)
    disk = full.make_disk(path / "disk", tree, 160)
    return list_console_lines(
        full.boot(disk, "init: stopped", memory=2048, cmdline=OVMF_TIMER_WORKAROUND)
    )


def test_a_disk_starts_by_uefi_up_to_its_own_user_space(console_lines: list[str]) -> None:
    heard = list_section_lines(console_lines, "uefi")
    assert any("BdsDxe: starting Boot" in line for line in heard)
    assert "inside: up with 1 cpus" in heard
    assert any(re.match(r"inside: eth0 \S+ heard eth0", line) for line in heard)


def test_the_same_disk_starts_by_a_bios(console_lines: list[str]) -> None:
    heard = list_section_lines(console_lines, "bios")
    assert not any("BdsDxe" in line for line in heard)
    assert "inside: up with 1 cpus" in heard
    assert any(re.match(r"inside: eth0 has 10\.77\.0\.\d+/24 from 10", line) for line in heard)


def test_a_pc_starts_with_a_kernel(console_lines: list[str]) -> None:
    assert "inside: up with 1 cpus" in list_section_lines(console_lines, "direct")


def test_what_the_firmware_remembers_is_kept_for_root_alone(console_lines: list[str]) -> None:
    owners = {
        line.split()[-1]: line.split()
        for line in list_section_lines(console_lines, "files of uefi")[1:]
    }
    assert owners["uefi-vars.fd"][0:5:2] == ["-rw-------", "0", "540672"]


@pytest.mark.parametrize("name", ["uefi", "bios", "direct"])
def test_a_pc_knows_its_power_button(console_lines: list[str], name: str) -> None:
    assert "inside: the button was pressed, going" in list_section_lines(console_lines, name)
    assert f"guest {name}: stopped (status 0)" in console_lines
