"""The lab's own network: cards in a namespace, and the wires from them to QEMU's.

One end of a veth pair has the servers' address; what leaves the other end is carried to QEMU as
datagrams, to each of the machine's cards. Behind a second pair is a VLAN, whose tag is put on and
taken off here. A tap would need /dev/net/tun, which machines may keep to root.
"""

import array
import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from minbuild.errors import ToolError, UsageError
from minbuild.lab.types import Choice, Network, Shape
from minbuild.run import run

CARD = "lab0"
WIRE = "lab1"
ADDRESS = "192.0.2.1"
"""TEST-NET-1. Source: RFC 5737, section 3."""
RANGE = "192.0.2.50,192.0.2.99"
NAME = "probe.test"
"""A name that no one owns. Source: RFC 6761, section 6.2."""
MAC = "52:54:00:6d:62:01"
"""Of the machine's first card."""

VLAN = 20
VLAN_CARD = "lab20"
VLAN_WIRE = "lab21"
VLAN_ADDRESS = "198.51.100.1"
"""TEST-NET-2. Source: RFC 5737, section 3."""
VLAN_NET = "198.51.100.0/24"
VLAN_RANGE = "198.51.100.50,198.51.100.99"
TPID = 0x8100
TAG = struct.pack(">HH", TPID, VLAN)
"""Source: IEEE 802.1Q, 9.6."""
TAGGED = slice(12, 16)
"""Where the tag stands in a frame."""
VLAN_ID = 0x0FFF


def mac(number: int) -> str:
    """The address of the machine's card `number`, from 0."""
    return f"{MAC[:-2]}{int(MAC[-2:], 16) + number:02x}"


def sockets(number: int) -> tuple[str, str]:
    """QEMU's and the lab's socket; relative, since a path may be no longer than 107 bytes."""
    return f"qemu{number}.net", f"lab{number}.net"


def netdev(number: int) -> str:
    """QEMU's end of the wire to the card `number`."""
    qemu, lab = sockets(number)
    return (
        f"dgram,id=n{number},local.type=unix,local.path={qemu},remote.type=unix,remote.path={lab}"
    )


BATCH = f"""link set lo up
link add {CARD} type veth peer name {WIRE}
addr add {ADDRESS}/24 dev {CARD}
link add {VLAN_CARD} type veth peer name {VLAN_WIRE}
addr add {VLAN_ADDRESS}/24 dev {VLAN_CARD}
link set {CARD} up
link set {WIRE} up
link set {VLAN_CARD} up
link set {VLAN_WIRE} up
"""

SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM = 0x17
"""Source: linux/sockios.h, linux/ethtool.h."""
PACKET_IGNORE_OUTGOING = 23
SOL_PACKET = 263
"""Source: linux/if_packet.h, linux/socket.h."""
ETH_P_ALL = 3
FRAME = 65536
WAIT = 0.05
"""Seconds that a frame waits for QEMU before it is lost, as on a real wire."""


class Wire:
    """Frames between the namespace's cards and QEMU's; needs a network namespace of one's own."""

    def __init__(self, ip: tuple[str, ...], environment: Mapping[str, str], cards: int) -> None:
        run(
            [*ip, "-batch", "-"],
            what="making the lab's card",
            env=environment,
            stdin=BATCH.encode(),
        )
        try:
            self.card = opened(CARD, WIRE)
            self.vlan = opened(VLAN_CARD, VLAN_WIRE)
        except OSError as error:
            raise ToolError(
                f"cannot open the lab's card: {error.strerror}",
                fix="use --network user for QEMU's own network",
            ) from error
        # ten datagrams is the default, less than one burst of TCP
        with contextlib.suppress(OSError):
            Path("/proc/sys/net/unix/max_dgram_qlen").write_text("512", encoding="ascii")
        self.qemu = tuple(bound(number) for number in range(cards))

    def from_card(self) -> None:
        """Carry one frame from the card."""
        self._to_qemu(self.card.recv(FRAME))

    def from_vlan(self) -> None:
        """Carry one frame from the VLAN's card, with its tag."""
        frame = self.vlan.recv(FRAME)
        self._to_qemu(frame[: TAGGED.start] + TAG + frame[TAGGED.start :])

    def from_qemu(self, number: int) -> None:
        """Carry one frame from QEMU's card `number`; of a VLAN that is not ours it is lost."""
        frame = self.qemu[number].recv(FRAME)
        with contextlib.suppress(OSError):
            kind, vlan = struct.unpack(">HH", frame[TAGGED].ljust(4, b"\0"))
            if kind != TPID:
                self.card.send(frame)
            elif vlan & VLAN_ID == VLAN:
                self.vlan.send(frame[: TAGGED.start] + frame[TAGGED.stop :])

    def _to_qemu(self, frame: bytes) -> None:
        """To every card of QEMU's; the frame is lost where there is no socket yet."""
        for number, wire in enumerate(self.qemu):
            with contextlib.suppress(OSError):
                wire.sendto(frame, sockets(number)[0])

    def close(self) -> None:
        """Give all ends back."""
        for each in (self.card, self.vlan, *self.qemu):
            each.close()


def opened(card: str, wire: str) -> socket.socket:
    """The far end of a pair, for whole frames."""
    whole_checksums(card)
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    found.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    found.bind((wire, 0))
    return found


def bound(number: int) -> socket.socket:
    """The lab's end of the wire to QEMU's card `number`."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    found.bind(sockets(number)[1])
    found.settimeout(WAIT)
    return found


def whole_checksums(card: str) -> None:
    """Have the kernel write every checksum itself: no hardware follows that would do it."""
    value = array.array("B", struct.pack("II", ETHTOOL_STXCSUM, 0))
    place, _ = value.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP16x", card.encode(), place))


LEASES = {
    Shape.PLAIN: (),
    Shape.SLASH32: ("--dhcp-option-force=1,255.255.255.255",),
    # the lab's other address is reached over the route, and over the router it is not
    Shape.CLASSLESS: ("--dhcp-option=3,192.0.2.254", f"--dhcp-option=121,{VLAN_NET},{ADDRESS}"),
    Shape.MTU1400: ("--dhcp-option=26,1400",),
    Shape.NOMASK: ("--dhcp-option=1",),
}
"""dnsmasq's words for each. Source: dnsmasq(8), RFC 2132, RFC 3442."""


def need_leases(shape: Shape, network: Choice) -> None:
    """Refuse leases that the lab's network does not give.

    Raises: UsageError.
    """
    if shape is not Shape.PLAIN and network.name != Network.NAMESPACE:
        raise UsageError(
            f"--lease {shape} needs the lab's own DHCP server: {network.why}",
            fix="boot without --lease, or allow user namespaces",
        )


def echo_address(shape: Shape) -> str:
    """Where a host shall find the server that answers: beyond the route of the lease, if it has one."""
    return VLAN_ADDRESS if shape is Shape.CLASSLESS else ADDRESS


def dnsmasq_arguments(
    *,
    dhcp: bool,
    dns: bool,
    clock: bool,
    boot: tuple[str, ...] = (),
    lease: int = 3600,
    silent: bool = False,
    shape: Shape = Shape.PLAIN,
    settings: Path | None = None,
) -> tuple[str, ...]:
    """dnsmasq's own arguments: DHCP and DNS on the lab's card, its log on stderr.

    With `settings`, a file for dnsmasq, the addresses and what is booted are said there.
    """
    words = [
        *("--no-daemon", f"--conf-file={settings or os.devnull}", "--pid-file=", "--log-queries"),
        *(
            f"--interface={CARD}",
            f"--interface={VLAN_CARD}",
            "--except-interface=lo",
            "--bind-interfaces",
        ),
        *("--no-resolv", "--no-hosts", "--domain=test", "--local=/test/"),
    ]
    if dhcp:
        # --no-ping: dnsmasq otherwise waits three seconds for an echo of each address it offers
        ranges = (VLAN_RANGE,) if settings else (RANGE, VLAN_RANGE)
        words += [f"--dhcp-range={each},{lease}" for each in ranges]
        words += LEASES[shape]
        words += ["--dhcp-authoritative", "--no-ping", "--leasefile-ro"]
        words += [f"--dhcp-option=option:ntp-server,{ADDRESS}"] if clock else []
        words += () if settings else boot
        # without a DNS port of its own dnsmasq names no server
        words += [f"--dhcp-option=option:dns-server,{ADDRESS}"] if silent else []
    words += [f"--address=/{NAME}/{ADDRESS}"] if dns and not silent else ["--port=0"]
    return tuple(words)
