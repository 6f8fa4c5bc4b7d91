"""What the components of network and services do, seen from the lab's own network."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.lab.boot import boot_image
from minbuild.lab.model import (
    BootProbe,
    BootRequest,
    BootResult,
    ConsoleAction,
    FaultInjection,
    Firmware,
    LineSource,
    ProbePattern,
    ProbeState,
)
from minbuild.manifest import model
from minbuild.pipeline.boot_setup import BootSetup
from minbuild.progress import SilentProgress
from tests.e2e.nat_guest import APPLETS, INIT, LEASE, MODULES, READY
from tests.e2e.small_host import minbuild
from tests.support.lab import STORE, ask_by_tcp, make_boot_setup, make_data_disk, require_namespace
from tests.support.real_archive import open_real_archive
from tests.support.sample import sampled_feature
from tests.unit.lab.conftest import busybox_of, kernel_of
from tests.unit.lab.cpio import initramfs
from tests.unit.toolbox.real import toolbox

HERE = model.Location("test", 1, 1)

pytestmark = [pytest.mark.mirror, pytest.mark.boot, pytest.mark.xdist_group("services")]

MANIFEST = """\
minbuild: 1
name: net
extends: [host]
vars:
  address: 192.0.2.10/24
  gateway: 192.0.2.1
  nameservers: [192.0.2.1]
  ntp_servers: 192.0.2.1
  syslog_server: 192.0.2.1
  bridges: [br20=bond0.20]
  watchdog_seconds: 16
  ssh_keys: ["%s"]
network: {use: [static, bond, vlan, nat, vhost]}
services: {use: [ssh, syslog, watchdog]}
image: {formats: [uki], compression: zstd}
budget: {files: 90, packed: 30 MB}
"""
LIMIT = 300
HOST = "root@192.0.2.10"
MONITOR = "\x01c"
"""Ctrl-A c: the console's keys go to QEMU's monitor, and back."""


@dataclass(frozen=True, slots=True)
class Net:
    """The built host, its lab, and who may log in."""

    efi: Path
    stage: BootSetup
    key: Path

    def ssh(self, name: str, after: str, *command: str, key: bool = True) -> ConsoleAction:
        """Log in by dropbear's client, from the lab's own card."""
        own = ("-i", str(self.key)) if key else ()
        # a home of its own: no host is known there
        home = tempfile.mkdtemp(dir=self.key.parent)
        client = ("/usr/bin/env", f"HOME={home}", *toolbox().build_argv("dbclient"))
        argv = (*client, "-y", "-T", *own, HOST, *command)
        return ConsoleAction(re.compile(after), name=name, argv=argv)

    def boot(
        self, data: Path, acts: tuple[ConsoleAction, ...], probes: tuple[BootProbe, ...], cards: int
    ) -> BootResult:
        request = BootRequest(
            self.efi, probes, firmware=Firmware.DIRECT, data_disk=data, memory=1024, timeout=LIMIT,
            cards=cards, actions=acts, faults=FaultInjection(ignore_fatal_lines=True),  # the watchdog may bite
        )  # fmt: skip
        return boot_image(request, self.stage.toolbox, SilentProgress())


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Net:
    path = tmp_path_factory.mktemp("net")
    key = path / "key"
    argv = [*toolbox().build_argv("dropbearkey"), "-t", "ed25519", "-f", str(key)]
    output = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    public = next(line for line in output.splitlines() if line.startswith("ssh-ed25519 "))
    (path / "net.yaml").write_text(MANIFEST % public)
    ended = minbuild("make", "net.yaml", "--store", str(STORE), cwd=path)
    efi = path / "build" / "net" / "net.efi"
    assert efi.exists(), ended.err
    stage = make_boot_setup(efi)
    require_namespace(stage.toolbox)
    return Net(efi, stage, key)


@pytest.fixture(scope="module")
def disk(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data disk with a guest behind the NAT and on the VLAN."""
    path = tmp_path_factory.mktemp("disk")
    store = Store(STORE)
    package_source = open_real_archive(store)
    kernel, modules = kernel_of(package_source, store, MODULES)
    guest = path / "tree" / "guests" / "behind"
    guest.mkdir(parents=True)
    (guest / "vmlinuz").write_bytes(kernel)
    packed = initramfs(busybox_of(package_source, store), APPLETS, modules, LEASE, INIT)
    (guest / "initrd").write_bytes(packed)
    rows = ["kernel=vmlinuz", "initrd=initrd", "memory=128", "net=nat0", "net=br20"]
    (guest / "guest.conf").write_text("\n".join([*rows, f"ready={READY}", ""]))
    return make_data_disk(net.stage.toolbox, path / "disk", 64, path / "tree")


def expect_line(name: str, pattern: str, source: LineSource = LineSource.SERVERS) -> BootProbe:
    return BootProbe(name, (ProbePattern(source, re.compile(pattern)),), LIMIT, "it was not seen")


@sampled_feature("services")
def test_the_network_and_those_who_come_in_by_it(net: Net, disk: Path) -> None:
    """One boot: a bond loses a cable, all that follows goes through the other one; then the host hangs."""
    pull = ConsoleAction(
        re.compile("bond: bond0 of eth0 eth1"), f"{MONITOR}set_link n0 off\r{MONITOR}"
    )
    bond = "cat /proc/net/bonding/bond0"
    result = net.boot(
        disk,
        (
            pull,
            net.ssh("login", "ssh: port 22 is open", f"grep ^Uid: /proc/self/status; {bond}"),
            net.ssh("stranger", "ssh: port 22 is open", "echo in", key=False),
            net.ssh("hang", f"guest behind: ready: {READY}", "sleep 5; kill -STOP -1"),
        ),
        (
            expect_line("address", r"address: 192\.0\.2\.10/24 on host0", LineSource.CONSOLE),
            expect_line("syslog", r"syslog: 192\.0\.2\.10 .*minbuild: "),
            expect_line("clock", r"ntp: told 192\.0\.2\.10 the time"),
            expect_line("login", r"login: Uid:\s+0"),
            expect_line("failover", r"login: Currently Active Slave: eth1"),
            expect_line("stranger", r"stranger: ended with [1-9]"),
            expect_line("nat", r"tcp: answered \d+ bytes: behind nat"),
            expect_line("lease", r"DHCPACK\(lab20\) 198\.51\.100\.\d+", LineSource.DNSMASQ),
            expect_line("vlan", r"tcp: answered \d+ bytes: behind vlan"),
            ask_by_tcp("door", 9, "behind door", to="guest", limit=LIMIT),
            expect_line("guest", f"guest behind: ready: {READY}", LineSource.CONSOLE),
            expect_line("watchdog", r"i6300ESB.* resets after 16 s", LineSource.CONSOLE),
            expect_line("hung", "no such line"),
        ),
        cards=2,
    )
    failures = {
        one.name: one.detail for one in result.outcomes if one.state is not ProbeState.PASSED
    }
    text = "\n".join(f"{one.seconds} {one.source} {one.text}" for one in result.lines[-80:])
    assert failures.keys() == {"hung"}, text
    assert result.end_reason == "the machine switched itself off or restarted", text
    output = [one.text for one in result.lines if one.source is LineSource.SERVERS]
    # a password would have been tried, had the host offered to take one
    assert any(line.startswith("stranger: ") and "No auth methods" in line for line in output), (
        output
    )
    assert not any(line == "stranger: in" for line in output)
    # what the lab's server saw of the guest behind the NAT is the host's own address
    peers = {line.split()[3].split(":")[0] for line in output if line.startswith("tcp: connection")}
    assert peers == {"192.0.2.10"} | {peer for peer in peers if peer.startswith("198.51.100.")}


@pytest.mark.long
def test_the_host_s_key_is_the_same_after_a_restart(net: Net, tmp_path: Path) -> None:
    data = make_data_disk(net.stage.toolbox, tmp_path / "disk", 16)
    prints = []
    for _ in range(2):
        login = net.ssh("login", "ssh: port 22 is open", "sync; poweroff")
        result = net.boot(
            data, (login,), (expect_line("off", "init: stopped", LineSource.CONSOLE),), 2
        )
        assert result.passed
        text = "\n".join(one.text for one in result.lines)
        prints += re.findall(r"login: .*(SHA256:\S+)", text)
    assert len(prints) == 2
    assert prints[0] == prints[1]
