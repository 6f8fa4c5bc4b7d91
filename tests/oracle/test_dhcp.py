"""The host's DHCP client and its step beside a real dhcpcd, in namespaces: what each makes of a lease."""

import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from minbuild.data import data_directory
from minbuild.manifest.loader import read_manifest
from minbuild.paths import RootPath
from minbuild.pipeline.boot_setup import open_single_tool
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.progress import SilentProgress
from tests.e2e.small_host import minbuild
from tests.oracle import dhcp_lab, ports_lab
from tests.oracle.conversation import (
    Conversation,
    Lease,
    mask,
    pack_addresses,
    pack_routes,
    random_conversations,
)
from tests.support.lab import STORE, require_namespace
from tests.support.tars import unpack_own_tar

pytestmark = [pytest.mark.oracle, pytest.mark.mirror, pytest.mark.xdist_group("dhcp")]

SEED = 1542
MANIFEST = """\
minbuild: 1
name: dhcp
summary: The host's network step, and dhcpcd
arch: amd64
kernel: {package: linux-image-cloud-amd64}
network: {use: [bridge, dhcp, dns]}
boot: {use: [init]}
image: {formats: [tar], compression: none}
keep:
  - package: dhcpcd-base
    paths: [/usr/sbin/dhcpcd, /usr/lib/dhcpcd/dhcpcd-run-hooks, "/usr/lib/dhcpcd/dhcpcd-hooks/*"]
"""
DHCPCD = """\
noipv6
noipv4ll
noarp
nodelay
persistent
option domain_name_servers, domain_name, domain_search, host_name, routers, ntp_servers
option classless_static_routes, static_routes, interface_mtu, broadcast_address
"""
EVENT = f"""\
#!/bin/sh
trap 'echo "$1" >>/run/events' EXIT
. {dhcp_lab.STEP} 2>&1
"""
"""Run by udhcpc in the step's place: tells when the step has ended, and what it complained of."""
APPLETS = ("cat", "chmod", "cmp", "id", "mkdir", "mktemp", "mv", "rm", "sed", "tr", "hostname")
"""Of dhcpcd's own hooks."""
CLOCKS = "case $reason in BOUND) echo $new_ntp_servers >/run/clocks ;; esac\n"


@dataclass(frozen=True, slots=True)
class Root:
    """A directory with both clients, and the lab's `ip`."""

    place: Path
    ip: tuple[str, ...]

    def run(self, talks: Sequence[Conversation], *, both: bool) -> list[dict[str, Any]]:
        """What became of each conversation."""
        data = [
            {
                "both": both,
                "leases": [
                    {
                        "ip": one.ip,
                        "options": {key: text.hex() for key, text in one.options.items()},
                    }
                    for one in talk.leases
                ],
            }
            for talk in talks
        ]
        argv = ["unshare", "-Urnmu", sys.executable, dhcp_lab.__file__, str(self.place), *self.ip]
        ran = subprocess.run(
            argv, input=json.dumps(data), capture_output=True, text=True, timeout=600
        )
        assert ran.returncode == 0, ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]

    def render_step(self, **settings: str) -> None:
        """Put the step there as the shipped component renders it."""
        manifest = read_manifest(
            data_directory("manifests") / "host.yaml", settings=settings, components=()
        )
        files = {file.path: file for part in manifest.components for file in part.files}
        path = self.place / dhcp_lab.STEP.lstrip("/")
        path.write_bytes(files[RootPath(dhcp_lab.STEP)].content)
        path.chmod(0o755)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    path = tmp_path_factory.mktemp("dhcp")
    (path / "dhcp.yaml").write_text(MANIFEST)
    ended = minbuild("make", "dhcp.yaml", "-o", "out", "--store", str(STORE), cwd=path)
    assert ended.code == 0, ended.err
    tree = path / "root"
    with tarfile.open(path / "out/dhcp.tar") as tar:
        unpack_own_tar(tar, tree)
    busybox = tree / "usr/bin/busybox"
    for name in APPLETS:
        link = tree / "usr/bin" / name
        if not link.is_symlink():
            link.symlink_to(busybox.name)
    (tree / "event").write_text(EVENT)
    (tree / "event").chmod(0o755)
    (tree / "etc").mkdir(exist_ok=True)
    (tree / "etc/dhcpcd.conf").write_text(DHCPCD)
    hooks = tree / "usr/lib/dhcpcd/dhcpcd-hooks"
    (hooks / "99-clocks").write_text(CLOCKS)
    tools = open_single_tool(
        BuildRequest(manifest=data_directory("manifests") / "host.yaml"),
        Session(STORE, SilentProgress()),
        "ip",
    )
    require_namespace(tools)
    result = Root(tree, tools.build_argv("ip"))
    result.render_step()
    return result


def format_state(state: dict[str, Any]) -> list[str]:
    return [line.removeprefix("dhcp: ") for line in state["said"]]


def run_conversation(root: Root, *leases: Lease) -> list[dict[str, Any]]:
    """What the host has after each lease of one conversation."""
    (result,) = root.run([Conversation("alone", leases)], both=False)
    states = result["ours"]
    assert all(state["came"] for state in states), states
    # the step itself complains of nothing, whatever it was given
    assert [line for line in states[-1]["log"].splitlines() if not line.startswith("udhcpc:")] == []
    return list(states)


def normalise_resolv_conf(lines: list[str]) -> list[str]:
    """What resolv.conf means: comments say nothing, and of domain and search the last one counts."""
    lines = [line for line in lines if not line.startswith("#")]
    searched = [line for line in lines if line.startswith(("domain ", "search "))][-1:]
    return [line.partition(" ")[2] for line in searched] + [
        line for line in lines if line.startswith("nameserver ")
    ]


def list_differences(lease: Lease, mine: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What the two clients made of one lease, as far as it differs and is not explained here."""
    bits = lease.options.get(1, b"")
    if bits == mask(31):
        # RFC 3021: two machines, no address for all. dhcpcd 10 takes the other one for that, and
        # refuses it as a gateway
        mine = {**mine, "addresses": [f"{lease.ip}/31 198.51.100.3"]}
        mine["routes"] = [one for one in mine["routes"] if not one.endswith(".3")]
    if bits == mask(32):
        # dhcpcd names the address itself as the one for all, and knows no gateway off the link in
        # option 33
        mine = {**mine, "addresses": [f"{lease.ip}/32 {lease.ip}"]}
        mine["routes"] = [one for one in mine["routes"] if not one.startswith("203.0.113.0/24 ")]
        other["routes"] = [one for one in other["routes"] if not one.startswith("203.0.113.0/24 ")]
    # dhcpcd has the MTU on its routes, where it binds the host's IPv4 alone
    expected = int.from_bytes(lease.options.get(26, (1500).to_bytes(2)))
    pairs = {
        "addresses": (mine["addresses"], other["addresses"]),
        "routes": (mine["routes"], other["routes"]),
        "mtu": (mine["mtu"], (other["route_mtu"] or [expected])[0]),
        "names": (normalise_resolv_conf(mine["names"]), normalise_resolv_conf(other["names"])),
        "clocks": (mine["clocks"], other["clocks"]),
        "came": (mine["came"], other["came"]),
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def compare_clients(root: Root, talks: list[Conversation]) -> int:
    """Compare all; the number of leases."""
    count = 0
    for talk, result in zip(talks, root.run(talks, both=True), strict=True):
        for number, lease in enumerate(talk.leases):
            mine, other = result["ours"][number], result["theirs"][number]
            assert list_differences(lease, mine, other) == {}, (talk, number, mine, other)
            assert mine["mtu"] == int.from_bytes(lease.options.get(26, (1500).to_bytes(2)))
            count += 1
    return count


def test_leases_and_renewals_are_taken_as_dhcpcd_takes_them(root: Root) -> None:
    assert compare_clients(root, random_conversations(SEED, 8)) >= 8


@pytest.mark.long
def test_many_leases_and_renewals_are_taken_as_dhcpcd_takes_them(root: Root) -> None:
    assert compare_clients(root, random_conversations(SEED + 1, 150)) >= 150


def test_a_lease_of_32_reaches_its_router(root: Root) -> None:
    ((bare,), (both,)) = (
        run_conversation(root, Lease("10.9.0.5", {1: mask(32), 3: pack_addresses("192.0.2.1")})),
        run_conversation(
            root,
            Lease(
                "10.9.0.5",
                {
                    1: mask(32),
                    3: pack_addresses("192.0.2.1"),
                    121: pack_routes(("192.0.2.1/32", "0.0.0.0"), ("0.0.0.0/0", "192.0.2.1")),
                },
            ),
        ),
    )
    assert bare["routes"] == both["routes"] == ["192.0.2.1 -", "default 192.0.2.1"]


def test_classless_routes_count_before_the_router(root: Root) -> None:
    (state,) = run_conversation(
        root,
        Lease(
            "192.0.2.50",
            {
                1: mask(24),
                3: pack_addresses("192.0.2.254"),
                121: pack_routes(
                    ("203.0.113.77/24", "192.0.2.7"), ("10.0.0.0/8", "10.0.0.1"),
                    ("10.0.0.1/32", "0.0.0.0"), ("203.0.113.0/24", "192.0.2.8"),
                ),
            },
        ),
    )  # fmt: skip
    expected = ["10.0.0.0/8 10.0.0.1", "10.0.0.1 -", "192.0.2.0/24 -", "203.0.113.0/24 192.0.2.7"]
    assert state["routes"] == expected
    assert "router 192.0.2.254 left out: the lease has classless routes" in format_state(state)


def test_a_renewal_removes_what_the_lease_had(root: Root) -> None:
    full = {
        1: mask(24), 3: pack_addresses("192.0.2.1"), 6: pack_addresses("192.0.2.1", "192.0.2.2"),
        15: b"example.net", 26: (1400).to_bytes(2), 42: pack_addresses("192.0.2.1", "192.0.2.3"),
        33: pack_addresses("203.0.113.0", "192.0.2.1"),
    }  # fmt: skip
    bare = {1: mask(26), 3: pack_addresses("192.0.2.9")}
    first, again, second = run_conversation(
        root, Lease("192.0.2.50", full), Lease("192.0.2.50", full), Lease("192.0.2.51", bare)
    )
    assert first["mtu"] == 1400
    assert first["clocks"] == ["192.0.2.1", "192.0.2.3"]
    assert first["names"] == ["search example.net", "nameserver 192.0.2.1", "nameserver 192.0.2.2"]
    assert format_state(again) == format_state(first), "an unchanged renewal is silent"
    assert (again["ticks"], second["ticks"]) == (True, False), (
        "other servers end the clock's program"
    )
    assert second["addresses"] == ["192.0.2.51/26 192.0.2.63"]
    assert second["routes"] == ["192.0.2.0/26 -", "default 192.0.2.9"]
    assert (second["mtu"], second["clocks"], second["names"]) == (1500, [], [])
    assert "lease 192.0.2.51/26 on host0 from 192.0.2.1" in format_state(second)


def test_a_name_of_the_network_is_taken_where_the_manifest_gives_none(root: Root) -> None:
    lease = Lease("192.0.2.50", {1: mask(24), 12: b"rack7"})
    (named,) = run_conversation(root, lease)
    assert "host name rack7 left out: the manifest says minhost" in format_state(named)
    assert named["hostname"] != "rack7"
    root.render_step(hostname="")
    try:
        (taken,) = run_conversation(root, lease)
    finally:
        root.render_step()
    assert taken["hostname"] == "rack7"


HOSTILE = {
    "no mask": ({}, "the lease has no mask of a network, its class says /24"),
    "mask with a hole": ({1: b"\xff\0\xff\0"}, "the lease has no mask of a network"),
    "mask of nothing": ({1: bytes(4)}, "the lease has no mask of a network"),
    "router for all": ({3: pack_addresses("255.255.255.255")}, "route left out: 0.0.0.0/0 by 255"),
    "gateway for all": (
        {121: pack_routes(("10.0.0.0/8", "255.255.255.255"))},
        "route left out: 10",
    ),
    "two routers": (
        {3: pack_addresses("192.0.2.1", "192.0.2.2")},
        "routers beside the first left out",
    ),
    "route to itself": (
        {121: pack_routes(("127.0.0.0/8", "192.0.2.1"))},
        "route left out: 127.0.0.0",
    ),
    "route to groups": ({121: pack_routes(("224.0.0.0/4", "192.0.2.1"))}, ""),
    "server of names for all": (
        {6: pack_addresses("0.0.0.0")},
        "name server left out: 0.0.0.0 is no",
    ),
    "clock of a group": (
        {42: pack_addresses("224.0.1.1")},
        "time server left out: 224.0.1.1 is no",
    ),
    "mtu 0": ({26: bytes(2)}, "mtu left out: 0 is not in 68..65535"),
    "mtu 67": ({26: (67).to_bytes(2)}, "mtu left out: 67 is not"),
    "mtu 576": ({26: (576).to_bytes(2)}, "mtu 576 is less than IPv6 needs: 1280"),
    "escape sequence": ({15: b"\x1b[2Jexample"}, "domain left out: "),
    "forged line": ({15: b"a\nnameserver 6.6.6.6"}, "domain left out: "),
    "shell": ({15: b"$(reboot) `reboot` *"}, "domain left out: "),
    "name with an escape": ({12: b"\x1b]0;x\x07"}, "host name"),
    "very long domain": ({15: b"a" * 255}, ""),
}


def test_a_router_that_is_the_host_itself_means_the_link(root: Root) -> None:
    """dhcpcd writes the address as gateway, which the kernel takes for the same."""
    (state,) = run_conversation(
        root, Lease("192.0.2.50", {1: mask(24), 3: pack_addresses("192.0.2.50")})
    )
    assert state["routes"] == ["192.0.2.0/24 -", "default -"]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_taken_is_said_and_nothing_more(root: Root, name: str) -> None:
    options, line = HOSTILE[name]
    usual = {} if "mask" in name else {1: mask(24)}
    (state,) = run_conversation(root, Lease("192.0.2.50", {**usual, **options}))
    assert state["addresses"] == ["192.0.2.50/24 192.0.2.255"]
    assert any(one.startswith(line) for one in format_state(state)), format_state(state)
    for text in state["said"]:
        assert re.fullmatch(r"(dhcp): [ -~]{1,160}", text), state["said"]
    for text in state["names"]:
        assert re.fullmatch(r"search( [A-Za-z0-9._-]{1,253})+|nameserver [0-9.]+", text)
    assert state["routes"][0] == "192.0.2.0/24 -"
    assert state["mtu"] >= 1280


def test_a_lease_for_no_address_is_refused(root: Root) -> None:
    for ip in ("127.0.0.1", "0.0.0.0", "224.0.0.5", "255.255.255.255"):
        (state,) = root.run([Conversation(ip, (Lease(ip, {1: mask(24)}),))], both=False)
        (result,) = state["ours"]
        assert result["addresses"] == []
        assert not result["runs"], "the client ends, and asks anew"


@pytest.mark.parametrize("whose", ["guests", "shared"])
def test_the_host_does_not_hear_a_guest_s_dhcp_server(root: Root, whose: str) -> None:
    """Unless its card is shared: then it takes the lease, so the server is one."""
    argv = ["unshare", "-Urnm", sys.executable, "-m", ports_lab.__name__, whose]
    ran = subprocess.run(
        [*argv, str(root.place), *root.ip], capture_output=True, text=True, timeout=60,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert result["uplink"], "the host asks the network"
    assert bool(result["guest"]) == (whose == "shared")
    assert ("lease of 192.0.2.66 obtained from 192.0.2.67" in result["said"]) == (whose == "shared")
