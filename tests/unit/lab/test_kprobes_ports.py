"""Kernel probes of opened ports."""

from minbuild.lab.kprobes import PORT_EVENT, PortEvent, build_port_kprobes, read_open_ports
from minbuild.lab.model import LineSource, LogLine

BOOT = """\
[    6.68] bind: (udp_lib_get_port+0x4/0x590) port=0 family=10 address=0x0 by="dropbear"
[    6.72] listen: (inet_csk_listen_start+0x4/0x100) port=22 family=2 address=0x0 by="dropbear"
[    6.76] listen: (inet_csk_listen_start+0x4/0x100) port=22 family=10 address=0x0 by="dropbear"
[    6.80] listen: (inet_csk_listen_start+0x4/0x100) port=5900 family=2 address=0x100007f by="qemu"
[    6.90] bind: (udp_lib_get_port+0x4/0x590) port=123 family=2 address=0x0 by="ntpd"
"""


def lines(text: str) -> list[LogLine]:
    return [LogLine(LineSource.TRACE, float(n), line) for n, line in enumerate(text.splitlines())]


def test_each_port_is_named_once_with_its_process() -> None:
    assert read_open_ports(lines(BOOT)) == (
        PortEvent(22, "tcp", "dropbear", is_local=False),
        PortEvent(123, "udp", "ntpd", is_local=False),
        PortEvent(5900, "tcp", "qemu", is_local=True),
    )


def test_a_client_s_own_port_only_shows_that_the_kernel_was_watched() -> None:
    assert read_open_ports(lines(BOOT.splitlines()[0])) == ()


def test_without_a_word_of_the_kernel_nobody_looked() -> None:
    assert read_open_ports(lines("[ 1.0] minbuild: init: ready")) is None
    assert PORT_EVENT.match('[ 1.0] listen: (x) port=1 family=2 address=0x0 by="a" more') is None


def test_the_probes_have_no_blanks() -> None:
    assert not any(" " in word for word in build_port_kprobes())
