"""One boot of the host with all kinds of guests on it: what they get, how `vm` and power-off end them."""

import os
import re
from pathlib import Path

import pytest

from tests.e2e.guests.conftest import GuestBench, list_section_lines
from tests.e2e.guests.machines import boot_guests

pytestmark = [pytest.mark.mirror, pytest.mark.boot, pytest.mark.xdist_group("guests")]


def find_line(lines: list[str], start: str) -> int:
    """Where the first line with this start stands."""
    return next(number for number, line in enumerate(lines) if line.startswith(start))


ERRORS = {
    "start nobody": "no guest nobody: /data/guests/nobody/guest.conf is not there (vm list)",
    "start bad": "/data/guests/bad/guest.conf:5: unknown key colour (known: ",
    "start gone": "/data/guests/gone/guest.conf:1: disk: /data/guests/gone/gone.raw is not there",
    "start lost": "/data/guests/lost/guest.conf:5: net: no bridge br9",
    "start big": "big needs 90000 MiB, of ",
    "start full": "full is already running",
    "stop off": "off is not running: vm start off",
    "console off": "off is not running: vm start off",
    "log off": "off has not run since the host started",
    "strat": "there is no command strat",
}


@pytest.mark.parametrize("command", ERRORS)
def test_each_mistake_has_its_own_error(console_lines: list[str], command: str) -> None:
    assert list_section_lines(console_lines, command)[-1].startswith(
        f"vm: error: {ERRORS[command]}"
    )


def test_guests_that_cannot_start_are_named_at_boot(console_lines: list[str]) -> None:
    for name in ("bad", "gone", "lost"):
        what = ERRORS[f"start {name}"]
        assert any(line.startswith(f"guest {name}: FAILED: {what}") for line in console_lines)


def test_guests_start_side_by_side(console_lines: list[str]) -> None:
    started = [
        find_line(console_lines, f"guest {name}: started") for name in ("full", "mbr", "gpt")
    ]
    assert max(started) < min(
        find_line(console_lines, f"guest {name}: ready") for name in ("full", "gpt")
    )
    assert not any(line.startswith("guest off: ") for line in console_lines)


def test_a_guest_sees_every_processor_disk_and_card(console_lines: list[str]) -> None:
    assert list_section_lines(console_lines, "full")[:4] == [
        "inside: up with 2 cpus",
        "inside: disk vda 2 MiB: first, vda was written",
        "inside: disk vdb 4 MiB: second, vdb was written",
        "inside: disk vdc 3 MiB read-only: third",
    ]


def test_both_cards_of_a_guest_reach_the_network(console_lines: list[str]) -> None:
    said_there = list_section_lines(console_lines, "full")
    assert any(re.match(r"inside: eth0 \S+ heard eth0", line) for line in said_there)
    assert "inside: eth1 52:54:00:00:00:77 heard eth1" in said_there
    assert any(re.match(r"inside: eth1 has 10\.77\.0\.\d+/24 from 10", line) for line in said_there)


def test_disks_boot_by_their_own_partition_table(console_lines: list[str]) -> None:
    assert "guest mbr: ready: boot sector runs" in console_lines
    assert "guest gpt: ready: inside: ready" in console_lines


def test_nothing_on_the_data_partition_changes_its_owner_for_a_disk(
    console_lines: list[str],
) -> None:
    owners = {
        line.split()[-1]: line.split() for line in list_section_lines(console_lines, "files")[1:]
    }
    for name in ("one.raw", "two.qcow2", "three.raw", "guest.conf"):
        assert owners[name][2:4] == [str(os.getuid()), str(os.getgid())]


def test_every_guest_is_confined_as_a_user_of_its_own(console_lines: list[str]) -> None:
    pattern = r"confined: guest (\w+): user (\d+), no_new_privs 1, seccomp 2, /dev/kvm 660 0:36"
    seen = dict(re.findall(pattern, "\n".join(console_lines)))
    assert {"full", "mbr", "gpt"} <= seen.keys()
    assert len(set(seen.values())) == len(seen)
    assert min(map(int, seen.values())) >= 1 << 30


def test_a_guest_that_shall_not_start_again_does_not(console_lines: list[str]) -> None:
    assert any(line.startswith("guest once: stopped") for line in console_lines)
    assert len([line for line in console_lines if line.startswith("guest once: started")]) == 1


def test_a_person_talks_to_a_guest_and_tools_find_its_socket(console_lines: list[str]) -> None:
    assert "bench: heard: inside: heard a word" in console_lines
    assert "bench: socket: qmp" in console_lines


def test_stop_presses_the_button(console_lines: list[str]) -> None:
    assert list_section_lines(console_lines, "gpt") == ["inside: the button was pressed, going"]
    assert "guest gpt: stopped (status 0)" in console_lines


def test_a_guest_that_knows_no_button_loses_its_plug_after_its_time(
    console_lines: list[str],
) -> None:
    unplugged, killed = list_section_lines(console_lines, "mbr")
    (waited,) = re.findall(r"unplugged after (\d+) s", unplugged)
    assert int(waited) >= 3
    assert killed == "killed"
    assert any(line.startswith("guest mbr: stopped") for line in console_lines)


def test_each_card_is_the_kernel_s_to_serve(console_lines: list[str]) -> None:
    assert list_section_lines(console_lines, "vhost") == ["2"]


@pytest.mark.long
def test_memory_that_runs_out_takes_a_guest_and_nothing_else(
    bench: GuestBench, tmp_path: Path
) -> None:
    console_lines = boot_guests(bench, tmp_path, hog=True)
    killed = list_section_lines(console_lines, "killed")
    assert killed
    assert all(re.search(r"\(qemu-system-x86\) .* UID:1\d{9} .*_adj:500", line) for line in killed)
    assert any(re.match("guest (one|two): stopped .status 137.", line) for line in console_lines)
    after = {
        line.split()[0]: line.split()[1] for line in list_section_lines(console_lines, "after")
    }
    assert after["full"] == "running"


def test_power_off_waits_for_guests_before_the_data_partition(console_lines: list[str]) -> None:
    order = [
        "init: stopping",
        "guest full: stopped (status 0)",
        "bench: ended: inside: the button was pressed, going",
        "data: unmounted",
        "init: stopped",
    ]
    assert "bench: full still runs" not in console_lines
    assert [line for line in console_lines if line in order] == order
