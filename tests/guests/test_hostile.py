"""A guest that serves leases, advertises itself as a router and writes others' addresses into frames."""

import socket
import struct

import pytest

from minbuild.lab.types import Server
from tests.guests.conftest import FUNCTIONS, Bench, conf, rows, said
from tests.support.lab import in_namespace

pytestmark = [
    pytest.mark.long,
    pytest.mark.mirror,
    pytest.mark.boot,
    pytest.mark.xdist_group("guests"),
]

HOST = "52:54:00:6d:62:01"
"""The address of the machine's card, which the host's own link has."""
SERVES = "cmdline=console=ttyS0 reboot=t panic=-1 quiet inside.serve"
SCRIPT = r"""
# as GUEST FRAME: a frame, as that guest sends it: by its card's own device
as() {
    read -r link <"/run/guests/$1/cards"
    read -r index <"/sys/class/net/vm${link#v?}/ifindex"
    for _ in 1 2 3 4 5; do
        cat "/data/$2" 9<>"/dev/tap$index" >&9
    done
    nap 0.5
}
# where the bridge believes the host's address to be: the name of a link. Each row of its table is the
# address, the port's number, whether it is its own, and more. Source: linux/if_bridge.h (__fdb_entry)
where() {
    for port in /sys/class/net/br0/brif/*; do
        port=/sys/class/net/${port##*/}
        number=$(printf '%02x' "$(cat "$port/brport/port_no")")
        ! xxd -p -c 16 /sys/class/net/br0/brforward | grep -q "^HOST${number}00" || cat "$port/ifalias"
    done
}
# see HEADING: what the host has of the network
see() {
    { ip -4 addr show dev host0; ip -4 route show dev host0; } | grep -v BROADCAST | grep '[0-9]\.[0-9]' | tell "$1 v4"
    ip -6 route | grep -c default | tell "$1 routers"
    where | tell "$1 host"
}
case $1 in
start)
    await dhcp-silent 120
    wait_for evil 'serves leases'
    for frame in advertisement spoofed claim; do as evil $frame; done
    nap 40
    see isolated
    ip neigh | tell 'isolated neighbours'
    vm stop evil
    vm start shared
    wait_for shared 'serves leases'
    await lease 90
    for frame in advertisement spoofed; do as shared $frame; done
    nap 1
    see shared
    poweroff
    ;;
esac
"""


def checksum(data: bytes) -> int:
    """Source: RFC 1071."""
    total = sum(int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(to: str, source: str, kind: int, body: bytes) -> bytes:
    """An Ethernet frame, behind the ten bytes that the card's device wants first.

    Source: linux/virtio_net.h (virtio_net_hdr), IEEE 802.3.
    """
    ends = bytes.fromhex((to + source).replace(":", ""))
    return bytes(10) + (ends + struct.pack(">H", kind) + body).ljust(60, b"\0")


def advertisement() -> bytes:
    """A router for half an hour, with a prefix. Source: RFC 4861, 4.2 and 4.6.2."""
    here, everyone = "fe80::5054:ff:fe00:66", "ff02::1"
    ends = b"".join(socket.inet_pton(socket.AF_INET6, one) for one in (here, everyone))
    prefix = struct.pack(">BBBBIII", 3, 4, 64, 0xC0, 86400, 14400, 0)
    prefix += socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
    body = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix
    pseudo = ends + struct.pack(">II", len(body), 58)
    body = body[:2] + struct.pack(">H", checksum(pseudo + body)) + body[4:]
    head = struct.pack(">IHBB", 6 << 28, len(body), 58, 255)
    return frame("33:33:00:00:00:01", "52:54:00:00:00:66", 0x86DD, head + ends + body)


def claim() -> bytes:
    """An ARP request that says that 192.0.2.1 is here. Source: RFC 826, RFC 5227, 1.2."""
    mac, ip = bytes.fromhex("525400000066"), socket.inet_aton("192.0.2.1")
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + mac + ip + bytes(6) + ip
    return frame("ff:ff:ff:ff:ff:ff", "52:54:00:00:00:66", 0x0806, body)


def spoofed() -> bytes:
    """A frame of nothing much that seems to come from the host."""
    return frame("ff:ff:ff:ff:ff:ff", HOST, 0x88B5, b"spoofed")


@pytest.fixture(scope="module")
def ran(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the host said, on a network where nobody but its guests serves leases."""
    in_namespace(bench.stage.toolbox)
    place = tmp_path_factory.mktemp("hostile")
    tree = bench.tree(place / "tree", FUNCTIONS + SCRIPT.replace("HOST", HOST.replace(":", "")))
    for make in (advertisement, claim, spoofed):
        (tree / make.__name__).write_bytes(make())
    conf(tree, "evil", SERVES, "net=br0")
    conf(tree, "shared", SERVES, "net=br0,shared", "autostart=no")
    disk = bench.disk(place / "disk", tree)
    result = bench.boot(disk, "init: stopped", memory=768, without=frozenset({Server.DHCP}))
    return said(result)


def test_a_guest_s_leases_and_advertisements_come_to_nobody(ran: list[str]) -> None:
    assert rows(ran, "isolated v4") == []
    assert rows(ran, "isolated routers") == ["0"]
    assert not any("192.0.2.1 " in line for line in rows(ran, "isolated neighbours"))


def test_a_guest_does_not_take_the_host_s_address(ran: list[str]) -> None:
    assert rows(ran, "isolated host") == ["the port of host0"]


def test_a_shared_card_is_what_the_others_are_kept_from(ran: list[str]) -> None:
    """What fails for the first guest would have come to the host: the second one's does."""
    assert any(line.startswith("dhcp: lease 192.0.2.20") for line in ran)
    assert any("192.0.2.66" in line for line in ran if line.startswith("dhcp: lease"))
    assert rows(ran, "shared routers") == ["1"]
    (believed,) = rows(ran, "shared host")
    assert believed.startswith("the port of vs")
