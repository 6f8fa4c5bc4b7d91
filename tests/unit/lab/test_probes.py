"""Which lines make a probe pass or fail."""

import re

import pytest

from minbuild.lab.probes import Watch, skipped, standard
from minbuild.lab.types import Line, Network, Probe, Sign, Source, State


def fed(watch: Watch, *texts: str, source: Source = Source.CONSOLE) -> Watch:
    for number, text in enumerate(texts):
        watch.feed(Line(source, float(number), text))
    return watch


GOOD = (
    "[    1.50] minbuild: init: 12 steps started",
    "[    2.25] minbuild: dhcp: lease 192.0.2.82/24 on host0 from 192.0.2.1",
    "minbuild: 2.50 dns: probe.test is 192.0.2.1",
    "[    2.75] minbuild: tcp: 192.0.2.1:7 answered minbuild",
    "[    3.00] minbuild: kvm: /dev/kvm ready (AMD)",
    "[    8.00] minbuild: confined: guest tiny: user 1077, no_new_privs 1, seccomp 2, /dev/kvm 660 0:36, own mnt pid net ipc uts cgroup, nothing of the host in reach",
    "[    9.00] minbuild: guest tiny: ready: minbuild-guest: up",
)


def states(watch: Watch) -> dict[str, State]:
    return {outcome.name: outcome.state for outcome in watch.outcomes()}


def test_a_probe_passes_when_both_sides_saw_it() -> None:
    watch = fed(Watch(standard()), *GOOD)
    assert {name for name, state in states(watch).items() if state is State.FAILED} == {
        "dhcp",
        "dns",
        "tcp",
    }
    fed(
        watch,
        "dnsmasq-dhcp: DHCPACK(lab0) 192.0.2.82 52:54:00:6d:62:01",
        "dnsmasq: query[A] probe.test from 192.0.2.82",
        source=Source.DNSMASQ,
    )
    fed(watch, "tcp: connection from 192.0.2.82:40000", source=Source.SERVERS)
    assert set(states(watch).values()) == {State.PASSED}
    assert watch.open(0) == []
    uptimes = [outcome.uptime for outcome in watch.outcomes()]
    assert uptimes == [1.5, 2.25, 2.5, 2.75, 3.0, 8.0, 9.0]


def test_qemu_s_own_network_has_no_log_and_no_names() -> None:
    probes = standard()
    watch = fed(Watch(probes, skipped(probes, Network.USER), Network.USER), *GOOD)
    fed(watch, "tcp: connection from 127.0.0.1:40000", source=Source.SERVERS)
    assert states(watch).pop("dns") is State.SKIPPED
    assert State.FAILED not in states(watch).values()


def test_what_the_host_gave_up_is_not_waited_for() -> None:
    watch = fed(Watch(standard()), "[ 9.0] minbuild: dns: FAILED: no lease")
    assert "dns" not in {probe.name for probe in watch.open(0)}
    (outcome,) = (one for one in watch.outcomes() if one.name == "dns")
    assert (outcome.state, outcome.detail) == (State.FAILED, "FAILED: no lease")


def test_a_probe_seen_after_its_limit_failed() -> None:
    sign = Sign(Source.CONSOLE, re.compile("up"))
    watch = Watch((Probe("late", (sign,), 5, "slow"),))
    watch.feed(Line(Source.CONSOLE, 6.0, "up"))
    assert states(watch) == {"late": State.FAILED}


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("[ 1.0] Kernel panic - not syncing: VFS: no root", "kernel panic: VFS: no root"),
        (">>Start PXE over IPv4.", "the firmware found nothing to boot: >>Start PXE over IPv4."),
        ("minbuild: init: ready", ""),
    ],
)
def test_the_end_of_all_hope_is_seen_at_once(text: str, dead: str) -> None:
    assert fed(Watch(standard()), text).dead == dead


def test_a_machine_that_restarts_without_a_word_crashed() -> None:
    silent = fed(Watch(standard()), "[ 1.0] minbuild: init: 7 steps started")
    assert silent.gone() == "the machine switched itself off or restarted"
    assert silent.crash == "it restarted without a word"


@pytest.mark.parametrize("text", ["[ 9.0] reboot: Power down", "Kernel panic - not syncing: x"])
def test_a_machine_whose_kernel_said_so_did_not(text: str) -> None:
    watch = fed(Watch(standard()), text)
    assert watch.gone()
    assert watch.crash == ""


def test_where_a_watchdog_bites_a_restart_is_no_crash() -> None:
    watch = Watch(standard(), patient=True)
    assert watch.gone()
    assert watch.crash == ""


def test_a_crash_of_the_kernel_is_told_from_a_panic() -> None:
    watch = fed(Watch(standard()), "[ 1.0] Oops: general protection fault: 0000 [#1] SMP")
    assert watch.crash
    assert not watch.dead


def test_without_its_data_disk_nothing_is_waited_for_that_the_disk_asks() -> None:
    watch = fed(Watch(standard()), *GOOD[:2])
    assert {one.name for one in watch.open(0)} >= {"dhcp", "dns", "guest"}
    fed(watch, "[    5.00] minbuild: data: FAILED: /dev/vdb cannot be mounted")
    assert {one.name for one in watch.open(0)} == {"dhcp", "kvm"}
    details = {one.name: one.detail for one in watch.outcomes()}
    assert details["guest"] == "data: FAILED: /dev/vdb cannot be mounted"
    assert details["kvm"] == "not seen on the console"
    assert details["dhcp"] == "not seen in dnsmasq's log"
