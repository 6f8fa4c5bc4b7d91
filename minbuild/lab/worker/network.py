"""Network of the lab in a namespace: veth pairs, the relay to QEMU's cards, dnsmasq's arguments.

One end of a veth pair has the servers' address; frames from the other end are relayed to QEMU as
datagrams, to each of the machine's cards. A second pair is a VLAN, whose tag is added and removed
here. A tap device would need /dev/net/tun, which many machines allow to root only.
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
from minbuild.lab.addresses import LabAddresses
from minbuild.lab.model import Decision, LeaseShape, Network
from minbuild.process import run_program

SERVER_CARD = "lab0"
VETH_PEER = "lab1"
PROBE_DOMAIN = "probe.test"
"""A name in a reserved domain. Source: RFC 6761, section 6.2."""
FIRST_MAC = "52:54:00:6d:62:01"
"""MAC address of the machine's first card."""

VLAN_NUMBER = 20
VLAN_CARD = "lab20"
VLAN_PEER = "lab21"
TPID = 0x8100
VLAN_TAG = struct.pack(">HH", TPID, VLAN_NUMBER)
"""Source: IEEE 802.1Q, 9.6."""
VLAN_TAG_SLICE = slice(12, 16)
"""Position of the VLAN tag in a frame."""
VLAN_ID_MASK = 0x0FFF


def make_mac(number: int) -> str:
    """Make the MAC address of the machine's card `number`, from 0."""
    return f"{FIRST_MAC[:-2]}{int(FIRST_MAC[-2:], 16) + number:02x}"


def name_sockets(number: int) -> tuple[str, str]:
    """Name QEMU's and the lab's socket; relative, since a socket's path has at most 107 bytes."""
    return f"qemu{number}.net", f"lab{number}.net"


def build_netdev_arg(number: int) -> str:
    """Build QEMU's option for the socket of card `number`."""
    qemu, lab = name_sockets(number)
    return (
        f"dgram,id=n{number},local.type=unix,local.path={qemu},remote.type=unix,remote.path={lab}"
    )


def build_ip_commands(addresses: LabAddresses) -> str:
    """Build the input of `ip -batch` that creates the lab's network cards."""
    aliases = "".join(f"addr add {one}/32 dev {SERVER_CARD}\n" for one in addresses.aliases)
    return f"""link set lo up
link add {SERVER_CARD} type veth peer name {VETH_PEER}
addr add {addresses.server}/{addresses.prefix} dev {SERVER_CARD}
{aliases}link add {VLAN_CARD} type veth peer name {VLAN_PEER}
addr add {addresses.vlan_server}/24 dev {VLAN_CARD}
link set {SERVER_CARD} up
link set {VETH_PEER} up
link set {VLAN_CARD} up
link set {VLAN_PEER} up
"""


SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM = 0x17
"""Source: linux/sockios.h, linux/ethtool.h."""
PACKET_IGNORE_OUTGOING = 23
SOL_PACKET = 263
"""Source: linux/if_packet.h, linux/socket.h."""
ETH_P_ALL = 3
MAX_FRAME = 65536
SEND_TIMEOUT = 0.05
"""Seconds that a frame waits for QEMU before it is dropped, as on a real network."""


class FrameRelay:
    """Relays frames between the namespace's cards and QEMU's; needs a new network namespace."""

    def __init__(
        self, ip: tuple[str, ...], ip_commands: str, environment: Mapping[str, str], cards: int
    ) -> None:
        run_program(
            [*ip, "-batch", "-"],
            purpose="creating the lab's network cards",
            env=environment,
            stdin=ip_commands.encode(),
        )
        try:
            self.card_socket = open_packet_socket(SERVER_CARD, VETH_PEER)
            self.vlan_socket = open_packet_socket(VLAN_CARD, VLAN_PEER)
        except OSError as error:
            raise ToolError(
                f"cannot open the lab's network card: {error.strerror}",
                fix="use --network user for QEMU's user network",
            ) from error
        # the default is ten datagrams, less than one burst of TCP
        with contextlib.suppress(OSError):
            Path("/proc/sys/net/unix/max_dgram_qlen").write_text("512", encoding="ascii")
        self.qemu_sockets = tuple(open_qemu_socket(number) for number in range(cards))

    def relay_from_card(self) -> None:
        """Relay one frame from the card to QEMU."""
        self._send_to_qemu(self.card_socket.recv(MAX_FRAME))

    def relay_from_vlan(self) -> None:
        """Relay one frame from the VLAN's card to QEMU, with the VLAN tag added."""
        frame = self.vlan_socket.recv(MAX_FRAME)
        self._send_to_qemu(frame[: VLAN_TAG_SLICE.start] + VLAN_TAG + frame[VLAN_TAG_SLICE.start :])

    def relay_from_qemu(self, number: int) -> None:
        """Relay one frame from QEMU's card `number`; those of other VLANs are dropped."""
        frame = self.qemu_sockets[number].recv(MAX_FRAME)
        with contextlib.suppress(OSError):
            kind, vlan = struct.unpack(">HH", frame[VLAN_TAG_SLICE].ljust(4, b"\0"))
            if kind != TPID:
                self.card_socket.send(frame)
            elif vlan & VLAN_ID_MASK == VLAN_NUMBER:
                self.vlan_socket.send(frame[: VLAN_TAG_SLICE.start] + frame[VLAN_TAG_SLICE.stop :])

    def _send_to_qemu(self, frame: bytes) -> None:
        """Send a frame to every card of QEMU; it is dropped where there is no socket yet."""
        for number, endpoint in enumerate(self.qemu_sockets):
            with contextlib.suppress(OSError):
                endpoint.sendto(frame, name_sockets(number)[0])

    def close(self) -> None:
        """Close all sockets."""
        for endpoint in (self.card_socket, self.vlan_socket, *self.qemu_sockets):
            endpoint.close()


def open_packet_socket(card: str, peer: str) -> socket.socket:
    """Open a raw socket at the other end of a veth pair."""
    enable_software_checksums(card)
    packet_socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    packet_socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    packet_socket.bind((peer, 0))
    return packet_socket


def open_qemu_socket(number: int) -> socket.socket:
    """Open the lab's socket for QEMU's card `number`."""
    qemu_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    qemu_socket.bind(name_sockets(number)[1])
    qemu_socket.settimeout(SEND_TIMEOUT)
    return qemu_socket


def enable_software_checksums(card: str) -> None:
    """Make the kernel compute every checksum: no hardware does it on a veth pair."""
    value = array.array("B", struct.pack("II", ETHTOOL_STXCSUM, 0))
    address, _ = value.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP16x", card.encode(), address))


def build_lease_args(shape: LeaseShape, addresses: LabAddresses) -> tuple[str, ...]:
    """Build dnsmasq's arguments for a kind of lease. Source: dnsmasq(8), RFC 2132, RFC 3442."""
    match shape:
        case LeaseShape.PLAIN:
            return ()
        case LeaseShape.SLASH32:
            return ("--dhcp-option-force=1,255.255.255.255",)
        case LeaseShape.CLASSLESS:
            # only the route leads to the lab's other address, the router does not
            route = f"{addresses.vlan}.0/24,{addresses.server}"
            return ("--dhcp-option=3,192.0.2.254", f"--dhcp-option=121,{route}")
        case LeaseShape.MTU1400:
            return ("--dhcp-option=26,1400",)
        case LeaseShape.NOMASK:
            return ("--dhcp-option=1",)


def require_lease_support(shape: LeaseShape, network: Decision, addresses: LabAddresses) -> None:
    """Refuse --lease for a host with a fixed address, and on QEMU's user network.

    Raises: UsageError.
    """
    if shape is not LeaseShape.PLAIN and addresses.host:
        raise UsageError(
            f"--lease {shape} has no effect: the host's address is fixed, {addresses.host}",
            fix="boot without --lease",
        )
    if shape is not LeaseShape.PLAIN and network.name != Network.NAMESPACE:
        raise UsageError(
            f"--lease {shape} needs the lab's own DHCP server: {network.reason}",
            fix="boot without --lease, or allow user namespaces",
        )


def select_echo_address(shape: LeaseShape, addresses: LabAddresses) -> str:
    """Choose the address of the TCP server for probe.conf: behind the lease's route, if any."""
    return addresses.vlan_server if shape is LeaseShape.CLASSLESS else addresses.server


def build_dnsmasq_args(
    addresses: LabAddresses,
    *,
    dhcp: bool,
    dns: bool,
    ntp: bool,
    netboot_args: tuple[str, ...] = (),
    lease: int = 3600,
    silent_dns: bool = False,
    shape: LeaseShape = LeaseShape.PLAIN,
    conf_file: Path | None = None,
) -> tuple[str, ...]:
    """Build dnsmasq's arguments: DHCP and DNS on the lab's card, the log on stderr.

    A `conf_file` of dnsmasq replaces the addresses of the first card and the network boot.
    """
    args = [
        *("--no-daemon", f"--conf-file={conf_file or os.devnull}", "--pid-file=", "--log-queries"),
        *(
            f"--interface={SERVER_CARD}",
            f"--interface={VLAN_CARD}",
            "--except-interface=lo",
            "--bind-interfaces",
        ),
        *("--no-resolv", "--no-hosts", "--domain=test", "--local=/test/"),
    ]
    if dhcp:
        # --no-ping: without it dnsmasq pings each address for three seconds before it offers it
        ranges = [f"{addresses.vlan}.50,{addresses.vlan}.99"]
        ranges += [addresses.dhcp_range] if addresses.dhcp_range and not conf_file else []
        args += [f"--dhcp-range={address_range},{lease}" for address_range in ranges]
        args += build_lease_args(shape, addresses)
        args += ["--dhcp-authoritative", "--no-ping", "--leasefile-ro"]
        args += [f"--dhcp-option=option:ntp-server,{addresses.server}"] if ntp else []
        args += () if conf_file else netboot_args
        # dnsmasq without a DNS port does not announce a name server
        args += [f"--dhcp-option=option:dns-server,{addresses.server}"] if silent_dns else []
    has_names = dns and not silent_dns
    args += [f"--address=/{PROBE_DOMAIN}/{addresses.server}"] if has_names else ["--port=0"]
    return tuple(args)
