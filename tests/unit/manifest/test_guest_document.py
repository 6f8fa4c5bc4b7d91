"""guest.yaml: what it may hold, what is wrong with it, and the guest.conf made of it."""

import re
from pathlib import Path

import pytest

from minbuild.data import data_directory
from minbuild.errors import MinbuildError
from minbuild.manifest.guest_document import GUEST_DOCUMENT, load_guest, render_guest_conf
from tests.e2e.small_host import minbuild

FULL = """\
machine: q35
cpus: 4
memory: 512 MiB
kernel: vmlinuz
initrd: initrd
cmdline: [console=ttyS0, quiet]
firmware: uefi
disks:
  - root.qcow2
  - {file: /data/images/tools.raw, read-only: true}
nets:
  - br0
  - {bridge: nat0, mac: "52:54:00:12:34:56"}
  - {bridge: br0, shared: true}
  - {bridge: br0, addresses: [192.0.2.9, 192.0.2.10]}
autostart: false
restart: false
stop-wait: 5
ready: "login:"
pin: 0-3,8
nodes: "0"
cpu-limit: 150
cpu-weight: 200
disk-rate: 50 MiB
disk-ops: 500
huge-pages: true
balloon: true
"""
CONF = """\
machine=q35
cpus=4
memory=512
kernel=vmlinuz
initrd=initrd
firmware=uefi
cmdline=console=ttyS0 quiet
disk=root.qcow2
disk=/data/images/tools.raw,ro
net=br0
net=nat0,52:54:00:12:34:56
net=br0,shared
net=br0,192.0.2.9,192.0.2.10
autostart=no
restart=no
stop-wait=5
ready=login:
pin=0-3,8
nodes=0
cpu-limit=150
cpu-weight=200
disk-rate=50
disk-ops=500
huge-pages=yes
balloon=yes
"""


def written(directory: Path, text: str, *files: str) -> Path:
    for name in files:
        (directory / name).touch()
    path = directory / "guest.yaml"
    path.write_text(text)
    return path


def test_every_key_becomes_a_line(tmp_path: Path) -> None:
    path = written(tmp_path, FULL, "vmlinuz", "initrd", "root.qcow2")
    assert render_guest_conf(load_guest(path)) == CONF


def test_what_is_not_said_is_left_to_the_host(tmp_path: Path) -> None:
    path = written(tmp_path, "disks: [a.raw]\n", "a.raw")
    assert render_guest_conf(load_guest(path)) == "cpus=1\nmemory=256\ndisk=a.raw\n"


def test_the_host_knows_every_key_that_is_written() -> None:
    script = (data_directory("manifests") / "components/hypervisor/guests.vm.sh.j2").read_text()
    (known,) = re.findall(r"(?m)^KEYS='(.*)'$", script)
    plural = {"disks": "disk", "nets": "net"}
    assert {plural.get(key.name, key.name) for key in GUEST_DOCUMENT.keys} == set(known.split())


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("disks: [a.raw]\ncpu: 4\n", "unknown key 'cpu'"),
        ("cpus: 2\n", "neither a kernel nor a disk"),
        ("disks: [gone.raw]\n", "no file gone.raw"),
        ("disks: ['a.raw,readonly=off']\n", "is not a file's path"),
        ("disks: [../a.raw]\n", "is not a file's path"),
        ("disks: [/data/images/../guests/a]\n", "is not a file's path"),
        ("disks: [b/./a.raw]\n", "is not a file's path"),
        ("disks: [a.raw]\nfirmware: uefi\n", "UEFI requires machine: q35"),
        ("disks: [a.raw]\ncpus: 65\n", "cpus is 65, out of range"),
        ("disks: [a.raw]\nmemory: 1500 kB\n", "the memory is 1500000 bytes"),
        ("disks: [a.raw]\nmachine: q53\n", "unknown machine 'q53'"),
        ("disks: [a.raw]\npin: 0-\n", "is not a list of numbers"),
        ("disks: [a.raw]\ncpu-limit: 0\n", "cpu-limit is 0, out of range"),
        ("disks: [a.raw]\ndisk-rate: 1500 kB\n", "the rate of its disks is 1500000 bytes"),
        ("disks: [a.raw]\nmemory: 9 MiB\nhuge-pages: true\n", "huge pages have 2 MiB"),
        ('disks: [a.raw]\nready: "a\\nb"\n', "is not one line"),
        ("disks: [a.raw]\nnets: [{bridge: br0, addresses: [1.2.3.256]}]\n", "IPv4 address"),
        ('disks: [a.raw]\nnets: [{bridge: br0, mac: "53:54:00:00:00:01"}]\n', "address of a card"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(MinbuildError) as caught:
        load_guest(written(tmp_path, text, "a.raw"))
    assert what in caught.value.what
    assert "guest.yaml:" in str(caught.value.where)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("disks: [a.raw]\n", "starts from a kernel"),
        ("kernel: a.raw\nfirmware: uefi\n", "has no firmware"),
        ("kernel: a.raw\ndisks: [b.qcow2]\n", "has raw disks alone"),
        ("kernel: a.raw\nballoon: true\n", "machine xen-pvh has no balloon"),
        ("kernel: a.raw\ncmdline: ['a=\"b\"']\n", "command line of a domain"),
    ],
)
def test_what_a_domain_of_xen_cannot_have_is_told(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(MinbuildError) as caught:
        load_guest(written(tmp_path, f"machine: xen-pvh\n{text}", "a.raw", "b.qcow2"))
    assert what in caught.value.what
    assert not caught.value.also


def test_a_domain_of_xen_is_written_with_its_machine(tmp_path: Path) -> None:
    path = written(tmp_path, "machine: xen-pvh\nkernel: k\ndisks: [a.raw]\n", "k", "a.raw")
    expected = "machine=xen-pvh\ncpus=1\nmemory=256\nkernel=k\ndisk=a.raw\n"
    assert render_guest_conf(load_guest(path)) == expected


def test_the_command_writes_beside_the_document(tmp_path: Path) -> None:
    written(tmp_path, "disks: [a.raw]\n", "a.raw")
    done = minbuild("guest", "guest.yaml", cwd=tmp_path)
    assert done.out.startswith("wrote guest.conf"), done.err
    assert (tmp_path / "guest.conf").read_text() == "cpus=1\nmemory=256\ndisk=a.raw\n"
    done = minbuild("guest", "guest.yaml", "-o", "-", cwd=tmp_path)
    assert done.out == (tmp_path / "guest.conf").read_text()


def test_mistakes_of_memory_and_firmware_are_told_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "guest.yaml"
    path.write_text("cpus: 1\ndisks: [/a.raw]\nmemory: 4 MiB\nfirmware: uefi\n")
    with pytest.raises(MinbuildError) as caught:
        load_guest(path)
    places = [one.where.partition("guest.yaml")[2] for one in (caught.value, *caught.value.also)]
    assert places == [":3:9 (memory)", ":4:11 (firmware)"]
