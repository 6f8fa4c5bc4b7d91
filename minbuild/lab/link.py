"""The lab's own network: a card in a namespace, and the wire from it to QEMU.

One end of a veth pair has the servers' address; what leaves the other end is carried to QEMU as
datagrams. A tap would need /dev/net/tun, which machines may keep to root.
"""

import array
import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.run import run

CARD = "lab0"
WIRE = "lab1"
ADDRESS = "192.0.2.1"
"""TEST-NET-1. Source: RFC 5737, section 3."""
RANGE = "192.0.2.50,192.0.2.99"
NAME = "probe.test"
"""A name that no one owns. Source: RFC 6761, section 6.2."""
MAC = "52:54:00:6d:62:01"

QEMU_SOCKET = "qemu.net"
LAB_SOCKET = "lab.net"
NETDEV = (
    f"dgram,id=n,local.type=unix,local.path={QEMU_SOCKET},remote.type=unix,remote.path={LAB_SOCKET}"
)
"""QEMU's end; relative paths, since a socket's path may be no longer than 107 bytes."""

BATCH = f"""link set lo up
link add {CARD} type veth peer name {WIRE}
addr add {ADDRESS}/24 dev {CARD}
link set {CARD} up
link set {WIRE} up
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
    """Frames between the namespace's card and QEMU; needs a network namespace of one's own."""

    def __init__(self, ip: tuple[str, ...], environment: Mapping[str, str]) -> None:
        run(
            [*ip, "-batch", "-"],
            what="making the lab's card",
            env=environment,
            stdin=BATCH.encode(),
        )
        try:
            whole_checksums(CARD)
            self.card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.card.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self.card.bind((WIRE, 0))
        except OSError as error:
            raise ToolError(
                f"cannot open the lab's card: {error.strerror}",
                fix="use --network user for QEMU's own network",
            ) from error
        # ten datagrams is the default, less than one burst of TCP
        with contextlib.suppress(OSError):
            Path("/proc/sys/net/unix/max_dgram_qlen").write_text("512", encoding="ascii")
        self.qemu = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.qemu.bind(LAB_SOCKET)
        self.qemu.settimeout(WAIT)

    def to_qemu(self) -> None:
        """Carry one frame from the card; it is lost while QEMU has no socket yet."""
        frame = self.card.recv(FRAME)
        with contextlib.suppress(OSError):
            self.qemu.sendto(frame, QEMU_SOCKET)

    def to_card(self) -> None:
        """Carry one frame from QEMU."""
        frame = self.qemu.recv(FRAME)
        with contextlib.suppress(OSError):
            self.card.send(frame)

    def close(self) -> None:
        """Give both ends back."""
        self.card.close()
        self.qemu.close()


def whole_checksums(card: str) -> None:
    """Have the kernel write every checksum itself: no hardware follows that would do it."""
    value = array.array("B", struct.pack("II", ETHTOOL_STXCSUM, 0))
    place, _ = value.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP16x", card.encode(), place))


def dnsmasq_arguments(
    *,
    dhcp: bool,
    dns: bool,
    clock: bool,
    boot: tuple[str, ...] = (),
    lease: int = 3600,
    silent: bool = False,
) -> tuple[str, ...]:
    """dnsmasq's own arguments: DHCP and DNS on the lab's card, its log on stderr."""
    words = [
        *("--no-daemon", f"--conf-file={os.devnull}", "--pid-file=", "--log-queries"),
        *(f"--interface={CARD}", "--except-interface=lo", "--bind-interfaces"),
        *("--no-resolv", "--no-hosts", "--domain=test", "--local=/test/"),
    ]
    if dhcp:
        # --no-ping: dnsmasq otherwise waits three seconds for an echo of each address it offers
        words += [
            f"--dhcp-range={RANGE},{lease}",
            "--dhcp-authoritative",
            "--no-ping",
            "--leasefile-ro",
        ]
        words += [f"--dhcp-option=option:ntp-server,{ADDRESS}"] if clock else []
        words += boot
        # without a DNS port of its own dnsmasq names no server
        words += [f"--dhcp-option=option:dns-server,{ADDRESS}"] if silent else []
    words += [f"--address=/{NAME}/{ADDRESS}"] if dns and not silent else ["--port=0"]
    return tuple(words)
