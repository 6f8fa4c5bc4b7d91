"""Lines that make a probe pass or fail."""

import re

import pytest

from minbuild.lab.addresses import LabAddresses
from minbuild.lab.model import BootProbe, LineSource, LogLine, Network, ProbePattern, ProbeState
from minbuild.lab.probes import ProbeTracker, find_unreachable_probes, make_default_probes


def feed_lines(
    tracker: ProbeTracker, *texts: str, source: LineSource = LineSource.CONSOLE
) -> ProbeTracker:
    for number, text in enumerate(texts):
        tracker.add_line(LogLine(source, float(number), text))
    return tracker


GOOD = (
    "[    1.50] minbuild: init: 12 steps started",
    "[    2.25] minbuild: dhcp: lease 192.0.2.82/24 on host0 from 192.0.2.1",
    "minbuild: 2.50 dns: probe.test is 192.0.2.1",
    "[    2.75] minbuild: tcp: 192.0.2.1:7 answered minbuild",
    "[    3.00] minbuild: kvm: /dev/kvm ready (AMD)",
    "[    8.00] minbuild: confined: guest tiny: user 1077, no_new_privs 1, seccomp 2, /dev/kvm 660 0:36, own mnt pid net ipc uts cgroup, nothing of the host in reach",
    "[    9.00] minbuild: guest tiny: ready: minbuild-guest: up",
)


def states(tracker: ProbeTracker) -> dict[str, ProbeState]:
    return {outcome.name: outcome.state for outcome in tracker.list_outcomes()}


def test_a_probe_passes_when_both_sides_saw_it() -> None:
    tracker = feed_lines(ProbeTracker(make_default_probes()), *GOOD)
    assert {name for name, state in states(tracker).items() if state is ProbeState.FAILED} == {
        "dhcp",
        "dns",
        "tcp",
    }
    feed_lines(
        tracker,
        "dnsmasq-dhcp: DHCPACK(lab0) 192.0.2.82 52:54:00:6d:62:01",
        "dnsmasq: query[A] probe.test from 192.0.2.82",
        source=LineSource.DNSMASQ,
    )
    feed_lines(tracker, "tcp: connection from 192.0.2.82:40000", source=LineSource.SERVERS)
    assert set(states(tracker).values()) == {ProbeState.PASSED}
    assert tracker.list_pending(0) == []
    uptimes = [outcome.uptime for outcome in tracker.list_outcomes()]
    assert uptimes == [1.5, 2.25, 2.5, 2.75, 3.0, 8.0, 9.0]


def test_qemu_s_own_network_has_no_log_and_no_names() -> None:
    probes = make_default_probes()
    tracker = feed_lines(
        ProbeTracker(
            probes, find_unreachable_probes(probes, Network.USER, LabAddresses()), Network.USER
        ),
        *GOOD,
    )
    feed_lines(tracker, "tcp: connection from 127.0.0.1:40000", source=LineSource.SERVERS)
    assert states(tracker).pop("dns") is ProbeState.SKIPPED
    assert ProbeState.FAILED not in states(tracker).values()


def test_what_the_host_gave_up_is_not_waited_for() -> None:
    tracker = feed_lines(
        ProbeTracker(make_default_probes()), "[ 9.0] minbuild: dns: FAILED: no lease"
    )
    assert "dns" not in {probe.name for probe in tracker.list_pending(0)}
    (outcome,) = (one for one in tracker.list_outcomes() if one.name == "dns")
    assert (outcome.state, outcome.detail) == (ProbeState.FAILED, "FAILED: no lease")


def test_a_probe_seen_after_its_limit_failed() -> None:
    sign = ProbePattern(LineSource.CONSOLE, re.compile("up"))
    tracker = ProbeTracker((BootProbe("late", (sign,), 5, "slow"),))
    tracker.add_line(LogLine(LineSource.CONSOLE, 6.0, "up"))
    assert states(tracker) == {"late": ProbeState.FAILED}


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("[ 1.0] Kernel panic - not syncing: VFS: no root", "kernel panic: VFS: no root"),
        (">>Start PXE over IPv4.", "the firmware found nothing to boot: >>Start PXE over IPv4."),
        ("minbuild: init: ready", ""),
    ],
)
def test_the_end_of_all_hope_is_seen_at_once(text: str, dead: str) -> None:
    assert feed_lines(ProbeTracker(make_default_probes()), text).fatal_reason == dead


def test_a_machine_that_restarts_without_a_word_crashed() -> None:
    silent = feed_lines(
        ProbeTracker(make_default_probes()), "[ 1.0] minbuild: init: 7 steps started"
    )
    assert silent.describe_exit() == "the machine switched itself off or restarted"
    assert silent.crash_line == "it restarted without a message of its kernel"


@pytest.mark.parametrize("text", ["[ 9.0] reboot: Power down", "Kernel panic - not syncing: x"])
def test_a_machine_whose_kernel_said_so_did_not(text: str) -> None:
    tracker = feed_lines(ProbeTracker(make_default_probes()), text)
    assert tracker.describe_exit()
    assert tracker.crash_line == ""


def test_where_a_watchdog_bites_a_restart_is_no_crash() -> None:
    tracker = ProbeTracker(make_default_probes(), ignore_fatal_lines=True)
    assert tracker.describe_exit()
    assert tracker.crash_line == ""


def test_a_crash_of_the_kernel_is_told_from_a_panic() -> None:
    tracker = feed_lines(
        ProbeTracker(make_default_probes()), "[ 1.0] Oops: general protection fault: 0000 [#1] SMP"
    )
    assert tracker.crash_line
    assert not tracker.fatal_reason


def test_without_its_data_disk_nothing_is_waited_for_that_the_disk_asks() -> None:
    tracker = feed_lines(ProbeTracker(make_default_probes()), *GOOD[:2])
    assert {one.name for one in tracker.list_pending(0)} >= {"dhcp", "dns", "guest"}
    feed_lines(tracker, "[    5.00] minbuild: data: FAILED: /dev/vdb cannot be mounted")
    assert {one.name for one in tracker.list_pending(0)} == {"dhcp", "kvm"}
    details = {one.name: one.detail for one in tracker.list_outcomes()}
    assert details["guest"] == "data: FAILED: /dev/vdb cannot be mounted"
    assert details["kvm"] == "not seen on the console"
    assert details["dhcp"] == "not seen in dnsmasq's log"


def test_a_panic_of_xen_is_a_crash() -> None:
    tracker = ProbeTracker(make_default_probes())
    panic = LogLine(LineSource.CONSOLE, 1.0, "(XEN) Panic on CPU 0:")
    tracker.add_line(panic)
    assert tracker.crash_line == "(XEN) Panic on CPU 0"
    expected = ProbeTracker(make_default_probes(), ignore_fatal_lines=True)
    expected.add_line(panic)
    assert expected.crash_line == ""
