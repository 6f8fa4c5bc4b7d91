"""The data disk, or what is on it, is not as it should be."""

import random
from pathlib import Path

import pytest

from minbuild.lab.guest import initramfs
from minbuild.lab.types import Trouble
from tests.faults.conftest import Host

pytestmark = [pytest.mark.long, pytest.mark.boot, pytest.mark.mirror]

READY = "minbuild: init: ready"
LEASE = r"minbuild: dhcp: lease"


def guest(host: Host, tree: Path, name: str, *more: str, initrd: bytes | None = None) -> None:
    """A guest with the host's kernel, shared by all of them."""
    place = tree / "guests" / name
    place.mkdir(parents=True)
    kernel = tree / "vmlinuz"
    if not kernel.exists():
        kernel.write_bytes((host.images / "host.pxe/vmlinuz").read_bytes())
    (place / "initrd").write_bytes(initramfs() if initrd is None else initrd)
    rows = ["kernel=/data/vmlinuz", "initrd=initrd", "memory=96", "ready=minbuild-guest: up"]
    (place / "guest.conf").write_text("\n".join([*rows, *more, ""]))


def test_without_a_disk_the_host_runs(host: Host) -> None:
    host.boot(READY, LEASE, "data: no partition", trouble=Trouble(no_disk=True))


def test_a_damaged_data_partition_is_named_and_the_host_runs(host: Host, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    guest(host, tree, "tiny")
    disk = host.disk(tmp_path / "disk", tree, 64)
    with disk.open("r+b") as file:
        # the group descriptors; the label in the superblock stays
        file.seek(2048)
        file.write(random.Random(2).randbytes(64 << 10))
    host.boot(READY, LEASE, r"data: FAILED: /dev/vda", data=disk)
