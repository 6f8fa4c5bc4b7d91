"""One boot of the full host with ordinary PCs on it: by UEFI, by a BIOS, and with a kernel."""

import re
import shutil

import pytest

from minbuild.lab.accel import OVMF_TIMER_WORKAROUND
from tests.e2e.guests.conftest import FUNCTIONS, MANIFESTS, START, Bench, conf, made, rows, said
from tests.support.lab import in_namespace, stage_of

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
def ran(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the host said from power-on to power-off."""
    in_namespace(bench.stage.toolbox)
    place = tmp_path_factory.mktemp("pcs")
    shutil.copytree(MANIFESTS, place / "manifests")
    image = made(place / "manifests", "full") / "full.efi"
    full = Bench(stage_of(image), bench.guest)
    tree = full.tree(place / "tree", FUNCTIONS + SCRIPT)
    rows = ["machine=q35", "memory=256", "ready=inside: ready", "autostart=no"]
    uefi = conf(tree, "uefi", *rows, "firmware=uefi", "disk=inside.raw", "net=br0")
    bios = conf(tree, "bios", *rows, "disk=inside.qcow2", "net=nat0")
    conf(tree, "direct", *START, *rows)
    for guest, name in ((uefi, "inside.raw"), (bios, "inside.qcow2")):
        shutil.copyfile(bench.guest / name, guest / name)
    disk = full.disk(place / "disk", tree, 160)
    return said(full.boot(disk, "init: stopped", memory=2048, cmdline=OVMF_TIMER_WORKAROUND))


def test_a_disk_starts_by_uefi_up_to_its_own_user_space(ran: list[str]) -> None:
    heard = rows(ran, "uefi")
    assert any("BdsDxe: starting Boot" in line for line in heard)
    assert "inside: up with 1 cpus" in heard
    assert any(re.match(r"inside: eth0 \S+ heard eth0", line) for line in heard)


def test_the_same_disk_starts_by_a_bios(ran: list[str]) -> None:
    heard = rows(ran, "bios")
    assert not any("BdsDxe" in line for line in heard)
    assert "inside: up with 1 cpus" in heard
    assert any(re.match(r"inside: eth0 has 10\.77\.0\.\d+/24 from 10", line) for line in heard)


def test_a_pc_starts_with_a_kernel(ran: list[str]) -> None:
    assert "inside: up with 1 cpus" in rows(ran, "direct")


def test_what_the_firmware_remembers_is_kept_for_root_alone(ran: list[str]) -> None:
    owners = {line.split()[-1]: line.split() for line in rows(ran, "files of uefi")[1:]}
    assert owners["uefi-vars.fd"][0:5:2] == ["-rw-------", "0", "540672"]


@pytest.mark.parametrize("name", ["uefi", "bios", "direct"])
def test_a_pc_knows_its_power_button(ran: list[str], name: str) -> None:
    assert "inside: the button was pressed, going" in rows(ran, name)
    assert f"guest {name}: stopped (status 0)" in ran
