"""The command `vm` of a host that starts Xen, and the scripts that libxl calls; xl itself is played."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minbuild.data import data_directory
from minbuild.manifest.loader import read_manifest
from tests.support.patience import wait_for

XEN = read_manifest(data_directory("manifests") / "xen.yaml", settings={}, components=())
FILES = {
    str(file.path): file.content.decode()
    for component in XEN.components
    for file in component.files
}

XL = """#!/bin/sh
# Says what it was called with, and does what xl does where that is seen from outside.
echo "$*" >>"$PLACE/calls"
case $1 in
info) echo "${FREE-700}" ;;
create)
    cat "$3" >"$PLACE/config"
    cat /proc/self/fd/16 >"$PLACE/kernel"
    echo "Parsing config from $3"
    [ ! -e "$PLACE/fails" ] || { echo 'xl: unable to build domain' >&2; exit 3; }
    while [ -e "$PLACE/slow" ]; do sleep 0.05; done
    domain=7
    while [ -e "$PLACE/domains/$domain" ]; do domain=$((domain + 1)); done
    sed -n 's/^name = "\\(.*\\)"/\\1/p' "$3" >"$PLACE/domains/$domain"
    echo "Waiting for domain $(cat "$PLACE/domains/$domain") (domid $domain) to die [pid 1]"
    while [ -e "$PLACE/domains/$domain" ]; do sleep 0.05; done
    ;;
shutdown) [ -e "$PLACE/deaf" ] || rm -f "$PLACE/domains/$2" ;;
destroy) rm -f "$PLACE/domains/$2" ;;
domid) cd "$PLACE/domains" && grep -lx "$2" -- * 2>/dev/null ;;
esac
"""
STORE = """#!/bin/sh
# One file for each key of Xen's store.
case $0 in
*-read) cat "$PLACE/store/$1" 2>/dev/null ;;
*-write) while [ $# -gt 0 ]; do mkdir -p "$(dirname "$PLACE/store/$1")"; printf '%s\\n' "$2" >"$PLACE/store/$1"; shift 2; done ;;
esac
"""

Vm = Callable[..., "subprocess.CompletedProcess[str]"]


def install(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


pytestmark = pytest.mark.mirror


@pytest.fixture
def host(tmp_path: Path, busybox: Path) -> Path:
    """The host's scripts, moved from the paths of a host to paths below a directory, and BusyBox."""
    shutil.copytree(busybox, tmp_path / "bin", symlinks=True)
    for applet in ("losetup", "mktemp"):
        (tmp_path / "bin" / applet).symlink_to("busybox")
    moved = {
        "/usr/lib/minbuild/init": "init",
        "/usr/bin/vm": "vm",
        "/etc/xen/scripts/block": "block",
        "/etc/xen/scripts/vif-guest": "vif-guest",
    }
    for path, name in moved.items():
        text = FILES[path].replace("/usr/lib/xen-*", f"{tmp_path}/xen-4")
        text = text.replace("/usr/bin/vm", f"{tmp_path}/vm").replace(
            ">/dev/kmsg", f">>{tmp_path}/said"
        )
        for place in ("/usr/lib/minbuild", "/data", "/run", "/sys/class/net"):
            text = text.replace(f"{place}/", f"{tmp_path}/").replace(f"={place}/", f"={tmp_path}/")
        install(
            tmp_path / name,
            text.replace("#!/bin/sh", f"#!{tmp_path}/bin/sh").replace(
                "PATH=/usr/bin:/usr/sbin:/bin:/sbin", f"PATH={tmp_path}/bin:$PATH"
            ),
        )
    install(tmp_path / "xen-4/bin/xl", XL)
    for name in ("xenstore-read", "xenstore-write"):
        install(tmp_path / "bin" / name, STORE)
    for name in ("guests", "minbuild", "xen/console", "br0/bridge", "domains"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "minbuild/xen").touch()
    os.mkfifo(tmp_path / "minbuild/never")
    (tmp_path / "said").touch()
    return tmp_path


@pytest.fixture
def vm(host: Path) -> Iterator[Vm]:
    """Runs the command; what it left running ends with the test."""

    def call(*args: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        env = {**os.environ, "PLACE": str(host), **variables}
        words = [str(host / "vm"), *args]
        return subprocess.run(words, capture_output=True, text=True, cwd=host, env=env, timeout=120)

    yield call
    (host / "slow").unlink(missing_ok=True)
    wait_for(lambda: end_guests(host))


def end_guests(host: Path) -> bool:
    """End what runs and what has been built since; whether nothing is left."""
    for directory in (host / "guests").glob("[!.]*"):
        (directory / "stopping").touch()
    for domain in (host / "domains").iterdir():
        domain.unlink(missing_ok=True)
    return not list_supervisors(host)


def list_supervisors(host: Path) -> list[str]:
    """Processes that run the `vm supervise` of this host."""
    words = f"{host}/vm\0supervise\0".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if words in path.read_bytes():
                found.append(path.parent.name)
    return found


def guest(host: Path, *lines: str, name: str = "web") -> Path:
    directory = host / "guests" / name
    directory.mkdir()
    (directory / "k").write_text("the kernel")
    (directory / "guest.conf").write_text("\n".join(("kernel=k", *lines)) + "\n")
    return directory


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("machine=q35", "machine=q35 needs KVM and QEMU"),
        ("machine=pc", "machine=pc is not xen-pvh"),
        ("firmware=uefi", "without firmware"),
        ("disk=a.qcow2", "has raw disks alone"),
        ("disk=hidden.raw", "is a qcow2 by its content"),
        ('cmdline=console=hvc0" evil="', 'no " and no \\ here'),
        ("net=br9", "no bridge br9"),
        ("net=br0,192.0.2.7", "a guest of Xen is not held to IPv4 addresses"),
        ("disk=../db/a.raw", "no . and no .. in it"),
        ("colour=red", "unknown key colour"),
        ("memory=064", "memory=064 begins with 0"),
        ("balloon=yes", "balloon needs KVM and QEMU"),
    ],
)
def test_what_xen_cannot_serve_is_told_with_its_line(
    host: Path, vm: Vm, line: str, told: str
) -> None:
    directory = guest(host, line)
    (directory / "a.qcow2").write_bytes(b"QFI\xfb")
    (directory / "hidden.raw").write_bytes(b"QFI\xfb")
    done = vm("start", "web")
    assert done.returncode == 1
    assert "guest.conf:2: " in done.stderr
    assert told in done.stderr
    assert not (host / "calls").exists()


def test_a_guest_without_a_kernel_is_told(host: Path, vm: Vm) -> None:
    (guest(host) / "guest.conf").write_text("cpus=1\n")
    assert "no kernel to start from" in vm("status", "web").stderr


def test_the_same_file_names_the_machine_of_this_host(host: Path, vm: Vm) -> None:
    guest(host, "machine=xen-pvh", "cpus=2", "memory=64")
    assert "state=stopped" in vm("status", "web").stdout


def test_a_domain_is_what_the_file_says(host: Path, vm: Vm) -> None:
    directory = guest(
        host, "cpus=2", "memory=64", "initrd=r", "disk=a.raw", "disk=b.raw,ro",
        "net=br0,00:16:3e:00:00:07", "net=br0,shared", "cmdline=console=hvc0 quiet", "stop-wait=5",
    )  # fmt: skip
    for name in ("r", "a.raw", "b.raw"):
        (directory / name).touch()
    assert vm("start", "web").stderr == ""
    wait_for((directory / "domain").exists)
    lines = (host / "config").read_text().splitlines()
    second = next(line for line in lines if line.startswith("vif")).split("mac=")[2][:17]
    assert second.startswith("00:16:3e:")
    start = "format=raw,backendtype=phy,script=block"
    disks = f'"{start},vdev=xvda,access=rw,target={directory}/a.raw", '
    disks += f'"{start},vdev=xvdb,access=ro,target={directory}/b.raw", '
    cards = '"bridge=br0,mac=00:16:3e:00:00:07,script=vif-guest", '
    cards += f'"bridge=br0,mac={second},script=vif-shared", '
    assert lines == [
        'ramdisk = "/proc/self/fd/17"',
        'name = "vm-web"',
        'type = "pvh"',
        "vcpus = 2",
        "memory = 64",
        "maxmem = 64",
        'kernel = "/proc/self/fd/16"',
        'cmdline = "console=hvc0 quiet"',
        f"disk = [{disks}]",
        f"vif = [{cards}]",
        'on_poweroff = "destroy"',
        'on_reboot = "destroy"',
        'on_crash = "destroy"',
    ]
    assert (host / "kernel").read_text() == "the kernel"
    assert vm("list").stdout.splitlines()[1].split() == ["web", "running", "2", "64", "7"]
    assert vm("stop", "web").returncode == 0
    calls = (host / "calls").read_text()
    assert "shutdown 7\n" in calls
    assert "destroy" not in calls
    assert "minbuild: guest web: started (domain 7, 2 cpus, 64 MiB)" in (host / "said").read_text()


def test_a_guest_that_hears_no_button_loses_its_plug(host: Path, vm: Vm) -> None:
    directory = guest(host, "stop-wait=1")
    (host / "deaf").touch()
    vm("start", "web")
    wait_for((directory / "domain").exists)
    assert vm("stop", "web").returncode == 0
    assert "destroy 7\n" in (host / "calls").read_text()
    wait_for(lambda: not (directory / "pid").exists())
    assert not (directory / "domain").exists()


def test_a_guest_whose_directory_is_gone_ends_with_what_keeps_it(host: Path, vm: Vm) -> None:
    directory = guest(host, "ready=never said")
    vm("start", "web")
    wait_for((directory / "domain").exists)
    keeper = int((directory / "pid").read_text())
    shutil.rmtree(directory)
    wait_for(lambda: not Path(f"/proc/{keeper}").exists())
    assert not [*(host / "domains").iterdir()]
    assert "web was removed, so the guest is ended" in (host / "said").read_text()


def test_a_guest_that_waits_for_its_turn_ends_with_its_directory(host: Path, vm: Vm) -> None:
    (host / "slow").touch()
    guest(host, name="first")
    vm("start", "first")
    wait_for(lambda: count_built(host) == 1)
    second = guest(host, name="second")
    vm("start", "second")
    wait_for((second / "turn").exists)
    keeper = int((second / "pid").read_text())
    shutil.rmtree(second)
    wait_for(lambda: not Path(f"/proc/{keeper}").exists())
    assert count_built(host) == 1


def test_what_watches_a_guest_ends_with_what_keeps_it(host: Path, vm: Vm) -> None:
    directory = guest(host, "ready=never said")
    vm("start", "web")
    wait_for((directory / "domain").exists)
    keeper = int((directory / "pid").read_text())
    wait_for(lambda: len(list_supervisors(host)) == 2)
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: not list_supervisors(host))


def test_a_guest_that_ends_is_started_again_and_why_it_ended_is_told(host: Path, vm: Vm) -> None:
    directory = guest(host)
    (host / "fails").touch()
    vm("start", "web")
    wait_for(lambda: "again in 1 s: xl: unable to build domain" in (host / "said").read_text())
    (host / "fails").unlink()
    wait_for((directory / "domain").exists)
    wait_for(lambda: not [*(host / "guests/.building").iterdir()])
    vm("kill", "web")
    wait_for(lambda: not (directory / "pid").exists())


def count_built(host: Path) -> int:
    return (host / "calls").read_text().count("create ") if (host / "calls").exists() else 0


def test_a_guest_may_have_any_name_that_is_one(host: Path, vm: Vm) -> None:
    names = ("building", "errors", "turn", "web")
    directories = [guest(host, name=name) for name in names]
    assert vm("start").returncode == 0
    for directory in directories:
        wait_for((directory / "domain").exists)
    assert len({(directory / "domain").read_text() for directory in directories}) == len(names)
    assert "FAILED" not in (host / "said").read_text()
    assert vm("stop").returncode == 0
    assert not [*(host / "domains").iterdir()]


def test_one_domain_is_built_at_a_time_and_who_died_has_lost_the_turn(host: Path, vm: Vm) -> None:
    (host / "slow").touch()
    first = guest(host, name="first")
    vm("start", "first")
    wait_for(lambda: count_built(host) == 1)
    others = [guest(host, name=name) for name in ("second", "third")]
    for other in others:
        vm("start", other.name)
        wait_for((other / "turn").exists)
    assert count_built(host) == 1
    os.kill(int((first / "pid").read_text()), signal.SIGKILL)
    wait_for(lambda: count_built(host) == 2)
    assert len([other for other in others if (other / "turn").exists()]) == 1
    (host / "slow").unlink()
    for other in others:
        wait_for((other / "domain").exists)
    assert count_built(host) == 3


def test_a_console_s_log_stays_below_its_limit(host: Path, vm: Vm) -> None:
    directory = guest(host, "ready=never said")
    vm("start", "web")
    wait_for((directory / "domain").exists)
    log = host / "xen/console/guest-vm-web.log"
    with log.open("ab", buffering=0) as xenconsoled:
        for line in (b"a\n", b"b\n"):
            xenconsoled.write(line * ((1 << 19) + 1))
            wait_for(lambda: log.stat().st_size == 0)
            assert (directory / "console.log.old").read_bytes() == line * (1 << 17)
            xenconsoled.write(b"then\n")
            assert vm("log", "web").stdout == "then\n"
    assert (directory / "console.log").is_symlink()


def test_more_memory_than_xen_has_free_is_told_before_a_start(host: Path, vm: Vm) -> None:
    guest(host, "memory=690")
    told = "web needs 700 MiB, its memory and Xen's tables for it, of 699 MiB that Xen has free"
    assert told in vm("start", "web", FREE="699").stderr
    assert "create" not in (host / "calls").read_text()
    assert vm("start", "web", FREE="700").stderr == ""


def test_a_kernel_that_domain_0_cannot_unpack_is_told(host: Path, vm: Vm) -> None:
    with (guest(host) / "k").open("wb") as file:
        file.truncate(1 << 40)
    assert "unpacking its kernel takes" in vm("start", "web").stderr


def test_without_a_store_nothing_is_started(host: Path, vm: Vm) -> None:
    guest(host)
    (host / "minbuild/xen").unlink()
    assert "Xen has no store" in vm("start", "web").stderr


def test_two_guests_have_no_card_in_common(host: Path, vm: Vm) -> None:
    guest(host, "net=br0,00:16:3e:00:00:07")
    other = host / "guests/db"
    other.mkdir()
    (other / "xl.cfg").write_text('vif = ["bridge=br0,mac=00:16:3E:00:00:07,script=vif-guest", ]\n')
    (other / "domain").write_text("4\n")
    vm("start", "web")
    wait_for((host / "config").exists)
    wait_for(lambda: "create" in (host / "calls").read_text())
    assert "mac=" not in (host / "config").read_text()
    assert "the host or another guest has the address" in (host / "guests/web/xl.log").read_text()


@pytest.mark.parametrize("change", ["link", "second name", "pipe"])
def test_a_disk_is_asked_once_more_what_it_is(host: Path, change: str) -> None:
    disk = host / "a.raw"
    match change:
        case "link":
            (host / "other").touch()
            disk.symlink_to("other")
        case "second name":
            disk.touch()
            os.link(disk, host / "other")
        case _:
            os.mkfifo(disk)
    place = host / "store/backend"
    place.mkdir(parents=True)
    (place / "params").write_text(str(disk))
    (place / "mode").write_text("w")
    env = {**os.environ, "PLACE": str(host), "XENBUS_PATH": "backend"}
    done = subprocess.run([host / "block", "add"], env=env, capture_output=True, timeout=120)
    assert done.returncode == 1
    assert (place / "hotplug-status").read_text() == "error\n"
    assert "minbuild: guests: FAILED: disk: " in (host / "said").read_text()
    assert not (place / "physical-device").exists()
