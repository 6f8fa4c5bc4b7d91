"""What the lab asks from outside."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from minbuild.lab.dial import Dialer, parse, render
from minbuild.lab.link import MAC
from minbuild.lab.probes import asked, skipped
from minbuild.lab.types import Dial, Network, Source
from minbuild.manifest.types import Probe, Where

HERE = Where("x.yaml", 1, 1)


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


def until(dials: list[tuple[str, Dial]], told: Callable[[Dialer], None]) -> list[str]:
    said: list[str] = []
    loop = selectors.DefaultSelector()
    dialer = Dialer(dials, loop, said.append)
    told(dialer)
    end = time.monotonic() + 60
    while dialer.wait is not None and time.monotonic() < end:
        if loop.get_map():
            for key, _ in loop.select(dialer.wait):
                key.data()
        else:
            time.sleep(0.05)
        dialer.turn()
    loop.close()
    return said


def test_a_port_that_is_silent_at_first_is_asked_again(server: int) -> None:
    log = f"dnsmasq-dhcp: DHCPACK(lab0) 127.0.0.1 {MAC}\n"
    said = until([("ssh", Dial(server, "host", "SSH-2[^ ]*"))], lambda one: one.heard(log))
    assert said == [f"probe ssh: 127.0.0.1:{server} said SSH-2.0-dropbear"]


def test_an_address_is_dialled_without_a_lease(server: int) -> None:
    said = until([("web", Dial(server, "127.0.0.1"))], lambda one: None)
    assert said == [f"probe web: 127.0.0.1:{server} open"]


def test_a_guest_s_lease_is_not_the_host_s(server: int) -> None:
    log = "dnsmasq-dhcp: DHCPACK(lab0) 127.0.0.1 52:54:00:11:22:33 tiny\n"
    said = until([("in", Dial(server, "guest"))], lambda one: one.heard(log))
    assert said == [f"probe in: 127.0.0.1:{server} open"]


def test_a_dial_reads_back() -> None:
    dial = Dial(22, "guest", '^SSH "2"')
    assert parse(render("a b", dial)) == ("a b", dial)


def test_a_component_asks_for_what_is_seen_outside() -> None:
    made = asked("net", Probe("net", HERE, "up", 9, "x", lease=True, lookup="a.test", tcp=22))
    assert [sign.source for sign in made.signs] == [
        Source.CONSOLE,
        Source.DNSMASQ,
        Source.DNSMASQ,
        Source.SERVERS,
    ]
    assert made.dial == Dial(22)
    assert made.signs[1].pattern.search(f"DHCPACK(lab0) 192.0.2.50 {MAC}")
    assert made.signs[2].pattern.search("query[AAAA] a.test from 192.0.2.50")
    assert not made.signs[2].pattern.search("query[A] axtest from 192.0.2.50")
    assert made.signs[3].pattern.search("probe net: 192.0.2.50:22 open")
    assert skipped([made], Network.NAMESPACE) == {}
    assert "lets nobody in" in skipped([made], Network.USER)["net"]
