"""Which ports a host opens, told by its own kernel: the image stays as it is, its command line grows.

Two probes that the kernel sets up before the first process: `inet_csk_listen_start`, which every
listening TCP socket passes, and `udp_lib_get_port`, by which every UDP socket gets its port. Port 0
there is a client that takes any; each host that asks a name server has some, so that a boot without
any line was not watched at all.
Source: Linux, trace/kprobetrace; struct sock_common (skc_rcv_saddr 4, skc_num 14, skc_family 16).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from minbuild.lab.types import Line

SOCKET = "port=+14($arg1):u16 family=+16($arg1):u16 address=+4($arg1):x32 by=$comm"
PROBES = (
    f"p:minbuild/listen,inet_csk_listen_start,{SOCKET}",
    f"p:minbuild/bind,udp_lib_get_port,{SOCKET.replace('+14($arg1):u16', '$arg2:u16')}",
)
EVENT = re.compile(
    r"^\[ *[\d.]+\] (listen|bind): \([^)]*\) port=(\d+) family=(\d+) address=0x([0-9a-f]+)"
    r' by="([^"]*)"$'
)
INET = "2"
"""AF_INET; an IPv6 socket's own address is not looked at. Source: socket(2)."""
LOOPBACK = 0x7F
"""The first byte of an address in memory. Source: RFC 1122, 3.2.1.3."""


@dataclass(frozen=True, slots=True, order=True)
class Opened:
    """A port that was opened while a host ran."""

    number: int
    protocol: str
    """tcp or udp."""
    by: str
    """The process's name."""
    local: bool
    """True: on the loopback address only."""


def words() -> tuple[str, ...]:
    """The probes, as `kprobe_event=` takes them."""
    return tuple(probe.replace(" ", ",") for probe in PROBES)


def opened(lines: Iterable[Line]) -> tuple[Opened, ...] | None:
    """The ports of one or more boots, sorted; None where the kernel was not watched."""
    found = [event for line in lines if (event := EVENT.match(line.text)) is not None]
    if not found:
        return None
    return tuple(sorted({_port(event) for event in found if event[2] != "0"}))


def _port(event: re.Match[str]) -> Opened:
    kind, number, family, address, by = event.groups()
    local = family == INET and int(address, 16) & 0xFF == LOOPBACK
    return Opened(int(number), "tcp" if kind == "listen" else "udp", by, local)
