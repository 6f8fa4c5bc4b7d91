"""Which ports a host's own configuration opens: sockets, inetd, daemons that scripts start.

What is not written down as a rule here is not seen; the lab sees what really listens.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from minbuild.footprint.types import FileRow

SOCKET = re.compile(r"/(?:etc|(?:usr/(?:local/)?)?lib)/systemd/system/[^/]+\.socket")
SCRIPTS = re.compile(
    r"/init|/etc/(?:inittab|rc\.local|rc|init\.d/[^/]+)|/usr/lib/minbuild/.+|(?:/usr)?/lib/dracut/.+\.sh"
)
LISTEN = re.compile(r"^\s*Listen(Stream|Datagram)\s*=\s*(\S+)", re.MULTILINE)
INETD, SSHD = "/etc/inetd.conf", "/etc/ssh/sshd_config"
DAEMONS: Mapping[str, tuple[str, ...]] = {
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
APPLETS = frozenset(
    (
        "dhcprelay", "dnsd", "fakeidentd", "ftpd", "httpd", "inetd", "nc", "netcat", "ntpd",
        "tcpsvd", "telnetd", "tftpd", "udhcpd", "udpsvd",
    )
)  # fmt: skip
"""Applets of BusyBox that can be servers. Source: busybox(1)."""
STARTS = re.compile(
    r"(?:^|[;&|]\s*|\bexec\s+|:respawn:\s*|:once:\s*|start-stop-daemon.*\s)(?:/\S*/)?("
    + "|".join(DAEMONS)
    + r")(?=\s|$)",
    re.MULTILINE,
)
UNITS = {"ssh.service": "sshd", "sshd.service": "sshd", "nginx.service": "nginx",
         "apache2.service": "apache2", "dnsmasq.service": "dnsmasq", "rpcbind.service": "rpcbind",
         "smbd.service": "smbd", "snmpd.service": "snmpd", "dropbear.service": "dropbear"}  # fmt: skip


def wanted(path: str) -> bool:
    """Whether a file's text is needed here."""
    return path in {INETD, SSHD} or bool(SOCKET.fullmatch(path) or SCRIPTS.fullmatch(path))


def listeners(files: Iterable[FileRow], texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Ports (22/tcp, /run/x.sock for no port at all is left out), each with what opens it."""
    for path, text in sorted(texts.items()):
        if SOCKET.fullmatch(path):
            yield from _socket(path, text)
        elif path == INETD:
            yield from _inetd(text)
        elif SCRIPTS.fullmatch(path):
            for found in STARTS.finditer(text):
                yield from ((port, f"{found[1]} in {path}") for port in DAEMONS[found[1]])
    for row in files:
        name = row.path.rpartition("/")[2]
        if ".wants/" in row.path and name in UNITS:
            ports = DAEMONS[UNITS[name]]
            if name in {"ssh.service", "sshd.service"}:
                ports = _sshd(texts.get(SSHD, "")) or ports
            yield from ((port, row.path) for port in ports)


def _socket(path: str, text: str) -> Iterator[tuple[str, str]]:
    for kind, address in LISTEN.findall(text):
        port = address.rpartition(":")[2]
        if port.isdecimal():
            yield f"{port}/{'tcp' if kind == 'Stream' else 'udp'}", path


def _inetd(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 5 and not line.startswith("#"):
            yield f"{fields[0]}/{fields[2][:3]}", f"{fields[5]} in {INETD}"


def _sshd(text: str) -> tuple[str, ...]:
    return tuple(f"{port}/tcp" for port in re.findall(r"(?mi)^\s*Port\s+(\d+)", text))
