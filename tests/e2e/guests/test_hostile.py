"""A guest that serves leases, advertises itself as a router and writes others' addresses into frames."""

import re
import shutil
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from minbuild.lab.model import ConsoleAction, LabServer, LineSource
from tests.e2e.guests.conftest import (
    FUNCTIONS,
    MANIFESTS,
    GuestBench,
    build_manifest,
    list_console_lines,
    list_section_lines,
    write_guest_conf,
)
from tests.support.lab import make_boot_setup, require_namespace

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
    read -r link _ <"/run/guests/$1/cards"
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


def spoofed_frame() -> bytes:
    """A frame of nothing much that seems to come from the host."""
    return frame("ff:ff:ff:ff:ff:ff", HOST, 0x88B5, b"spoofed")


@pytest.fixture(scope="module")
def console_lines(bench: GuestBench, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the host said, on a network where nobody but its guests serves leases."""
    require_namespace(bench.stage.toolbox)
    path = tmp_path_factory.mktemp("hostile")
    tree = bench.write_tree(
        path / "tree", FUNCTIONS + SCRIPT.replace("HOST", HOST.replace(":", ""))
    )
    for make in (advertisement, claim, spoofed_frame):
        (tree / make.__name__).write_bytes(make())
    write_guest_conf(tree, "evil", SERVES, "net=br0")
    write_guest_conf(tree, "shared", SERVES, "net=br0,shared", "autostart=no")
    disk = bench.make_disk(path / "disk", tree)
    result = bench.boot(
        disk, "init: stopped", memory=768, disabled_servers=frozenset({LabServer.DHCP})
    )
    return list_console_lines(result)


def test_a_guest_s_leases_and_advertisements_come_to_nobody(console_lines: list[str]) -> None:
    assert list_section_lines(console_lines, "isolated v4") == []
    assert list_section_lines(console_lines, "isolated routers") == ["0"]
    assert not any(
        "192.0.2.1 " in line for line in list_section_lines(console_lines, "isolated neighbours")
    )


def test_a_guest_does_not_take_the_host_s_address(console_lines: list[str]) -> None:
    assert list_section_lines(console_lines, "isolated host") == ["the port of host0"]


def test_a_shared_card_is_what_the_others_are_kept_from(console_lines: list[str]) -> None:
    """What fails for the first guest would have come to the host: the second one's does."""
    assert any(line.startswith("dhcp: lease 192.0.2.20") for line in console_lines)
    assert any("192.0.2.66" in line for line in console_lines if line.startswith("dhcp: lease"))
    assert list_section_lines(console_lines, "shared routers") == ["1"]
    (believed,) = list_section_lines(console_lines, "shared host")
    assert believed.startswith("the port of vs")


FILTERED = """\
minbuild: 1
name: filtered
summary: The bench, which looks at what guests send
extends: [bench.yaml]
network: {use: [guest-filter]}
"""
EAR = """\
import socket
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind(("lab0", 0))
while True:
    frame = wire.recv(2048)
    print(frame[6:12].hex(":"), frame[12:14].hex(), frame[14:].hex()[:120], flush=True)
"""
"""Says what comes out of the machine: who seems to send, of what kind, and its beginning."""
FILTER_SCRIPT = r"""
as() {
    read -r link _ <"/run/guests/$1/cards"
    read -r index <"/sys/class/net/vm${link#v?}/ifindex"
    for _ in 1 2 3; do
        cat "/data/$2" 9<>"/dev/tap$index" >&9
    done
    nap 0.3
}
case $1 in
start)
    wait_for leased 'inside: ready'
    wait_for static 'inside: ready'
    for frame in advertisement claim spoofed lie; do as static $frame; done
    say bench 'sent by a filtered card'
    vm stop leased
    vm start shared
    wait_for shared 'inside: ready'
    for frame in advertisement claim spoofed lie; do as shared $frame; done
    for guest in leased static shared; do
        grep -a heard "/run/guests/$guest/console.log" | tell "$guest"
    done
    nft list set bridge minbuild cards | grep 0x | tell cards
    poweroff
    ;;
esac
"""
STATIC = "52:54:00:00:00:66"
"""Of the card whose address stands in its guest.conf; the frames above come from it."""


def forged_datagram() -> bytes:
    """A datagram from the card's own MAC with the address of another machine. Source: RFC 791, 3.1."""
    ends = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.255")
    head = struct.pack(">BBHHHBBH", 0x45, 0, 28, 0, 0, 64, 17, 0) + ends
    head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    return frame("ff:ff:ff:ff:ff:ff", STATIC, 0x0800, head + struct.pack(">HHHH", 9, 9, 8, 0))


@pytest.fixture(scope="module")
def filter_output(
    bench: GuestBench, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], list[str]]:
    """What the host said, and what the lab heard on the wire; the line between is the bench's."""
    require_namespace(bench.stage.toolbox)
    path = tmp_path_factory.mktemp("filtered")
    shutil.copytree(MANIFESTS, path / "manifests")
    (path / "manifests/filtered.yaml").write_text(FILTERED)
    image = build_manifest(path / "manifests", "filtered") / "filtered.efi"
    looking = replace(bench, stage=make_boot_setup(image))
    tree = looking.write_tree(path / "tree", FUNCTIONS + FILTER_SCRIPT)
    for make in (advertisement, claim, spoofed_frame, forged_datagram):
        (tree / make.__name__).write_bytes(make())
    stand = "cmdline=console=ttyS0 reboot=t panic=-1 quiet inside.stand inside.stand=192.0.2.7%d/24"
    write_guest_conf(tree, "leased", "net=br0")
    write_guest_conf(tree, "static", stand % 1, f"net=br0,{STATIC},192.0.2.71")
    write_guest_conf(tree, "shared", stand % 2, "net=br0,shared", "autostart=no")
    disk = looking.make_disk(path / "disk", tree)
    ear = ConsoleAction(
        re.compile("steps started"),
        name="ear",
        argv=("/usr/bin/env", "-i", sys.executable, "-c", EAR),
    )
    result = looking.boot(disk, "init: stopped", memory=768, actions=(ear,))
    wire = [
        one.text
        for one in result.lines
        if one.source is LineSource.SERVERS or "bench: sent" in one.text
    ]
    return list_console_lines(result), wire


def test_a_filtered_guest_sends_from_its_own_addresses(
    filter_output: tuple[list[str], list[str]],
) -> None:
    lines, _ = filter_output
    assert any(
        "heard" in row and row.endswith("eth0") for row in list_section_lines(lines, "leased")
    ), lines[-60:]
    assert list_section_lines(lines, "static") == ["inside: with 192.0.2.71/24 heard standing"]
    # that of a guest that was stopped is taken out
    assert len(list_section_lines(lines, "cards")) == 1


@pytest.mark.parametrize("make", [advertisement, claim, spoofed_frame, forged_datagram])
def test_what_is_not_its_own_comes_to_the_wire_from_a_shared_card_alone(
    filter_output: tuple[list[str], list[str]], make: Callable[[], bytes]
) -> None:
    _, wire = filter_output
    body = make()[10:]
    heard = f"ear: {body[6:12].hex(':')} {body[12:14].hex()} {body[14:].hex()[:120]}"
    middle = next(path for path, line in enumerate(wire) if "bench: sent" in line)
    assert heard not in wire[:middle]
    assert heard in wire[middle:]
