"""Ports that a host's own configuration opens: sockets, inetd, daemons of scripts.

What is not written down as a rule here is not seen; the lab sees what really listens.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from minbuild.errors import UsageError
from minbuild.escape import dump_json
from minbuild.footprint.model import (
    SEEN_IN_LAB,
    FileRow,
    FindingKind,
    Footprint,
    Surface,
    SurfaceFinding,
)

PORTS_SCHEMA = "minbuild.ports/1"


@dataclass(frozen=True, slots=True, order=True)
class ObservedPort:
    """A port that was opened while the host ran."""

    name: str
    """22/tcp."""
    process: str
    """The process's name."""
    is_local: bool
    """True: on the loopback address only."""


def hash_footprint(footprint: str) -> str:
    """What ties the ports to a build: its footprint.json, hashed."""
    return hashlib.sha256(footprint.encode()).hexdigest()


def render_ports(ports: Iterable[ObservedPort], footprint: str) -> str:
    """Write ports as a document: schema `minbuild.ports/1`; `footprint` is that document's text."""
    rows = [
        {"port": one.name, "by": one.process, "local": one.is_local} for one in sorted(set(ports))
    ]
    document = {"schema": PORTS_SCHEMA, "footprint": hash_footprint(footprint), "ports": rows}
    return dump_json(document, sort=True)


def read_ports(text: str, footprint: str, where: str) -> tuple[ObservedPort, ...] | None:
    """Read what `render` wrote; None when it is of another build.

    Raises: UsageError when it is something else.
    """
    try:
        document = json.loads(text)
        if document["schema"] != PORTS_SCHEMA:
            raise ValueError(f"schema {document['schema']}")
        ports = tuple(
            ObservedPort(str(one["port"]), str(one["by"]), one["local"] is True)
            for one in document["ports"]
        )
        return ports if document["footprint"] == hash_footprint(footprint) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"this is no record of ports: {error}", where=where,
            fix="remove it, or make it anew: minbuild boot",
        ) from error  # fmt: skip


def add_ports(footprint: Footprint, ports: Iterable[ObservedPort]) -> Footprint:
    """Add to a footprint's surface what the lab saw open."""
    surface_before = footprint.surface or Surface()
    findings = {
        SurfaceFinding(FindingKind.LISTENER, one.name, f"{SEEN_IN_LAB}: {_describe_process(one)}")
        for one in ports
    }
    surface = replace(
        surface_before, findings=tuple(sorted({*surface_before.findings, *findings})), in_lab=True
    )
    return replace(footprint, surface=surface)


def _describe_process(port: ObservedPort) -> str:
    return f"{port.process}, on the loopback address only" if port.is_local else port.process


SOCKET_UNIT = re.compile(r"/(?:etc|(?:usr/(?:local/)?)?lib)/systemd/system/[^/]+\.socket")
STARTUP_SCRIPT = re.compile(
    r"/init|/etc/(?:inittab|rc\.local|rc|init\.d/[^/]+)|/usr/lib/minbuild/.+|(?:/usr)?/lib/dracut/.+\.sh"
)
LISTEN_LINE = re.compile(r"^\s*Listen(Stream|Datagram)\s*=\s*(\S+)", re.MULTILINE)
INETD_CONF, SSHD_CONFIG = "/etc/inetd.conf", "/etc/ssh/sshd_config"
DAEMON_PORTS: Mapping[str, tuple[str, ...]] = {
    "sshd": ("22/tcp",),
    "dropbear": ("22/tcp",),
    "telnetd": ("23/tcp",),
    "ftpd": ("21/tcp",),
    "tftpd": ("69/udp",),
    "httpd": ("80/tcp",),
    "nginx": ("80/tcp",),
    "apache2": ("80/tcp",),
    "dnsmasq": ("53/tcp", "53/udp", "67/udp"),
    "udhcpd": ("67/udp",),
    "rpcbind": ("111/tcp", "111/udp"),
    "smbd": ("445/tcp",),
    "snmpd": ("161/udp",),
    "libvirtd": ("16509/tcp",),
    "mysqld": ("3306/tcp",),
}
"""Programs that listen as they are, with their ports. A DHCP client's own port is no service."""
SERVER_APPLETS = frozenset(
    (
        "dhcprelay", "dnsd", "fakeidentd", "ftpd", "httpd", "inetd", "nc", "netcat", "ntpd",
        "tcpsvd", "telnetd", "tftpd", "udhcpd", "udpsvd",
    )
)  # fmt: skip
"""Applets of BusyBox that can be servers. Source: busybox(1)."""
DAEMON_START = re.compile(
    r"(?:^|[;&|]\s*|\bexec\s+|:respawn:\s*|:once:\s*|start-stop-daemon.*\s)(?:/\S*/)?("
    + "|".join(DAEMON_PORTS)
    + r")(?=\s|$)",
    re.MULTILINE,
)
DAEMON_UNITS = {"ssh.service": "sshd", "sshd.service": "sshd", "nginx.service": "nginx",
         "apache2.service": "apache2", "dnsmasq.service": "dnsmasq", "rpcbind.service": "rpcbind",
         "smbd.service": "smbd", "snmpd.service": "snmpd", "dropbear.service": "dropbear"}  # fmt: skip


def is_port_config(path: str) -> bool:
    """Tell whether the text of a file is needed here."""
    return path in {INETD_CONF, SSHD_CONFIG} or bool(
        SOCKET_UNIT.fullmatch(path) or STARTUP_SCRIPT.fullmatch(path)
    )


def find_listeners(files: Iterable[FileRow], texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Ports (22/tcp, /run/x.sock for no port at all is left out), each with what opens it."""
    for path, text in sorted(texts.items()):
        if SOCKET_UNIT.fullmatch(path):
            yield from _read_socket_unit(path, text)
        elif path == INETD_CONF:
            yield from _read_inetd(text)
        elif STARTUP_SCRIPT.fullmatch(path):
            for match in DAEMON_START.finditer(text):
                yield from ((port, f"{match[1]} in {path}") for port in DAEMON_PORTS[match[1]])
    for row in files:
        name = row.path.rpartition("/")[2]
        if ".wants/" in row.path and name in DAEMON_UNITS:
            ports = DAEMON_PORTS[DAEMON_UNITS[name]]
            if name in {"ssh.service", "sshd.service"}:
                ports = _read_sshd_ports(texts.get(SSHD_CONFIG, "")) or ports
            yield from ((port, row.path) for port in ports)


def _read_socket_unit(path: str, text: str) -> Iterator[tuple[str, str]]:
    for kind, address in LISTEN_LINE.findall(text):
        port = address.rpartition(":")[2]
        if port.isdecimal():
            yield f"{port}/{'tcp' if kind == 'Stream' else 'udp'}", path


def _read_inetd(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 5 and not line.startswith("#"):
            yield f"{fields[0]}/{fields[2][:3]}", f"{fields[5]} in {INETD_CONF}"


def _read_sshd_ports(text: str) -> tuple[str, ...]:
    return tuple(f"{port}/tcp" for port in re.findall(r"(?mi)^\s*Port\s+(\d+)", text))
