"""The network around the host is not as it should be."""

import pytest

from minbuild.lab.model import FaultInjection, LabServer
from tests.e2e.faults.conftest import Host, expect_line

pytestmark = [pytest.mark.long, pytest.mark.boot, pytest.mark.mirror]

READY = "minbuild: init: ready"
LEASE = r"minbuild: dhcp: lease 192\.0\.2\."


@pytest.mark.usefixtures("namespace")
def test_without_a_dhcp_server_the_host_comes_up_and_asks_on(host: Host) -> None:
    host.boot(
        READY,
        "dhcp: no server answers",
        r"guest tiny: ready",
        disabled_servers=frozenset({LabServer.DHCP}),
    )


@pytest.mark.usefixtures("namespace")
def test_a_server_that_comes_late_is_still_found(host: Host) -> None:
    result = host.boot(
        "dhcp: no server answers", LEASE, "dns: probe", faults=FaultInjection(outages=((0, 60),))
    )
    first, lease, _ = result.outcomes
    assert (first.seconds or 0) < 60 < (lease.seconds or 0)


@pytest.mark.usefixtures("namespace")
def test_a_name_server_that_never_answers_holds_up_nothing(host: Host) -> None:
    result = host.boot(
        READY, LEASE, "dns: FAILED", r"guest tiny: ready", faults=FaultInjection(silent_dns=True)
    )
    assert any("tcp: " in line.text and "answered" in line.text for line in result.lines)


@pytest.mark.usefixtures("namespace")
def test_a_lease_that_is_lost_is_said_and_asked_for_again(host: Host) -> None:
    # the server is away from 150 s on: a lease of 120 s that was renewed until then ends before 270 s
    faults = FaultInjection(lease=120, outages=((150, 330),))
    result = host.boot(
        "dhcp: lease lost", expect_line(LEASE, 2), timeout=600, memory=512, faults=faults
    )
    missing, again = result.outcomes
    assert 150 < (missing.seconds or 0) < 330 < (again.seconds or 0)
    granted = [line for line in result.lines if "DHCPACK" in line.text and line.seconds < 150]
    assert len(granted) > 1, "it was renewed while the server was there"
