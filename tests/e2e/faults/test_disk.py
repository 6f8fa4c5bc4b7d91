"""The data disk, or what is on it, is not as it should be."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from minbuild.errors import ToolError
from minbuild.lab.guest_images import make_guest_initramfs
from minbuild.lab.model import FaultInjection
from tests.e2e.faults.conftest import Host

pytestmark = [pytest.mark.long, pytest.mark.boot, pytest.mark.mirror]

READY = "minbuild: init: ready"
LEASE = r"minbuild: dhcp: lease"


def write_guest(host: Host, tree: Path, name: str, *more: str, initrd: bytes | None = None) -> None:
    """A guest with the host's kernel, shared by all of them."""
    path = tree / "guests" / name
    path.mkdir(parents=True)
    kernel = tree / "vmlinuz"
    if not kernel.exists():
        kernel.write_bytes((host.images / "host.pxe/vmlinuz").read_bytes())
    (path / "initrd").write_bytes(make_guest_initramfs() if initrd is None else initrd)
    rows = ["kernel=/data/vmlinuz", "initrd=initrd", "memory=96", "ready=minbuild-guest: up"]
    (path / "guest.conf").write_text("\n".join([*rows, *more, ""]))


def test_without_a_disk_the_host_runs(host: Host) -> None:
    host.boot(READY, LEASE, "data: no partition", faults=FaultInjection(no_disk=True))


def test_a_full_data_partition_stops_neither_host_nor_guest(host: Host, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    write_guest(host, tree, "tiny")
    disk = host.make_disk(tmp_path / "disk", tree, 64, "-N", "64")
    used = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    for size in range((64 << 20) - used, 0, -(1 << 20)):
        (tree / "ballast").write_bytes(random.Random(1).randbytes(1 << 20) * (size >> 20))
        try:
            disk = host.make_disk(tmp_path / "disk", tree, 64, "-N", "64")
        except ToolError:  # the largest that fits is looked for
            continue
        break
    host.boot(READY, LEASE, "data: /dev/vda on /data", "guest tiny: ready", data_disk=disk)


def test_a_damaged_data_partition_is_named_and_the_host_runs(host: Host, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    write_guest(host, tree, "tiny")
    disk = host.make_disk(tmp_path / "disk", tree, 64)
    with disk.open("r+b") as file:
        # the group descriptors; the label in the superblock stays
        file.seek(2048)
        file.write(random.Random(2).randbytes(64 << 10))
    host.boot(READY, LEASE, r"data: FAILED: /dev/vda", data_disk=disk)


def test_a_guest_that_crashes_is_started_again_ever_later(host: Host, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    write_guest(host, tree, "bad", initrd=b"this is no initramfs")
    write_guest(host, tree, "good")
    disk = host.make_disk(tmp_path / "disk", tree, 64)
    waits = (f"guest bad: ended .* again in {n} s" for n in (1, 2, 4))
    host.boot(*waits, "guest good: ready", READY, data_disk=disk)


def test_a_guest_with_garbage_for_settings_is_named(host: Host, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    write_guest(host, tree, "bad", "colour=blue")
    write_guest(host, tree, "noise")
    (tree / "guests/noise/guest.conf").write_bytes(random.Random(3).randbytes(4096))
    write_guest(host, tree, "good")
    disk = host.make_disk(tmp_path / "disk", tree, 64)
    host.boot(
        "guest bad: FAILED", "guest noise: FAILED", "guest good: ready", READY, data_disk=disk
    )


def test_a_store_from_which_nothing_can_be_started_is_said(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    script = 'mount -t tmpfs -o noexec,mode=700 tmpfs "$1"; shift; exec "$@"'
    result = subprocess.run(
        ["unshare", "-m" if os.geteuid() == 0 else "-Urm", "sh", "-c", script, "sh", tmp_path / "store",
         sys.executable, "-m", "minbuild", "tool", "--store", tmp_path / "store", "zstd", "--version"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 6
    assert (
        "zstd cannot be started: the store lies on a file system that is mounted noexec"
        in result.stderr
    )
    assert "Traceback" not in result.stderr
