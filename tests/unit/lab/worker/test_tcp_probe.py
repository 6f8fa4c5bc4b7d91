"""TCP probes: connections from the lab to host and guests."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from minbuild.footprint.model import ProbeRow
from minbuild.lab.addresses import LabAddresses
from minbuild.lab.model import LineSource, Network, TcpProbe
from minbuild.lab.probes import find_unreachable_probes, make_component_probe
from minbuild.lab.worker.network import FIRST_MAC
from minbuild.lab.worker.tcp_probe import TcpProber, decode_tcp_probe, encode_tcp_probe
from tests.support.patience import PATIENCE


@pytest.fixture
def server() -> Iterator[int]:
    """Says its name on the third connection, and nothing on those before."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)

        def serve() -> None:
            for number in range(3):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    if number == 2:
                        connection.sendall(b"SSH-2.0-dropbear\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        # whoever is left waiting is let go
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def until(probes: list[tuple[str, TcpProbe]], prepare: Callable[[TcpProber], None]) -> list[str]:
    said: list[str] = []
    loop = selectors.DefaultSelector()
    prober = TcpProber(probes, loop, said.append)
    prepare(prober)
    end = time.monotonic() + PATIENCE
    while prober.poll_interval is not None and time.monotonic() < end:
        if loop.get_map():
            for key, _ in loop.select(prober.poll_interval):
                key.data()
        else:
            time.sleep(0.05)
        prober.tick()
    loop.close()
    return said


def test_a_port_that_is_silent_at_first_is_asked_again(server: int) -> None:
    log = f"dnsmasq-dhcp: DHCPACK(lab0) 127.0.0.1 {FIRST_MAC}\n"
    said = until(
        [("ssh", TcpProbe(server, "host", "SSH-2[^ ]*"))], lambda one: one.learn_addresses(log)
    )
    assert said == [f"probe ssh: 127.0.0.1:{server} said SSH-2.0-dropbear"]


def test_an_address_is_dialled_without_a_lease(server: int) -> None:
    said = until([("web", TcpProbe(server, "127.0.0.1"))], lambda one: None)
    assert said == [f"probe web: 127.0.0.1:{server} open"]


def test_a_guest_s_lease_is_not_the_host_s(server: int) -> None:
    log = "dnsmasq-dhcp: DHCPACK(lab0) 127.0.0.1 52:54:00:11:22:33 tiny\n"
    said = until([("in", TcpProbe(server, "guest"))], lambda one: one.learn_addresses(log))
    assert said == [f"probe in: 127.0.0.1:{server} open"]


def test_a_dial_reads_back() -> None:
    probe = TcpProbe(22, "guest", '^SSH "2"')
    assert decode_tcp_probe(encode_tcp_probe("a b", probe)) == ("a b", probe)


def test_a_component_asks_for_what_is_seen_outside() -> None:
    probe = make_component_probe(
        "net",
        ProbeRow(
            "net", "up", 9, "x", lease=True, lookup="a.test", tcp=22, to="host", says="", where=""
        ),
    )
    assert [sign.source for sign in probe.patterns] == [
        LineSource.CONSOLE,
        LineSource.DNSMASQ,
        LineSource.DNSMASQ,
        LineSource.SERVERS,
    ]
    assert probe.tcp_probe == TcpProbe(22)
    assert probe.patterns[1].regex.search(f"DHCPACK(lab0) 192.0.2.50 {FIRST_MAC}")
    assert probe.patterns[2].regex.search("query[AAAA] a.test from 192.0.2.50")
    assert not probe.patterns[2].regex.search("query[A] axtest from 192.0.2.50")
    assert probe.patterns[3].regex.search("probe net: 192.0.2.50:22 open")
    assert find_unreachable_probes([probe], Network.NAMESPACE, LabAddresses()) == {}
    assert (
        "accepts no connection"
        in find_unreachable_probes([probe], Network.USER, LabAddresses())["net"]
    )
