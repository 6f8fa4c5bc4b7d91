"""Hostile guests in the boot of test_machines: refused by name, held where they run, and unable to speak."""

import re

import pytest

from tests.e2e.guests.conftest import list_section_lines
from tests.e2e.guests.hostile import NAMES, REFUSED

pytestmark = [pytest.mark.mirror, pytest.mark.boot, pytest.mark.xdist_group("guests")]


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_file_is_refused_and_nothing_of_it_starts(
    console_lines: list[str], name: str
) -> None:
    output = [line for line in console_lines if line.startswith(f"guest {name}: ")]
    (line,) = output
    assert re.fullmatch(rf"guest {name}: FAILED: (?:\S+guest.conf:\d+: )?{re.escape(REFUSED[name][1])}.*", line)  # fmt: skip


def test_names_that_a_terminal_would_obey_are_counted(console_lines: list[str]) -> None:
    start = f"guests: FAILED: {len(NAMES)} with a name of other characters"
    assert any(line.startswith(start) for line in console_lines)
    assert "guests: FAILED: 1 links, and a guest is a directory" in console_lines
    assert not any("owned" in line for line in console_lines if not line.startswith("bench: "))
    assert "kvm: forged" not in console_lines


def test_where_a_guest_s_process_is_nothing_of_the_host_is(console_lines: list[str]) -> None:
    seen = {
        word
        for line in list_section_lines(console_lines, "seen")
        for word in line.split()
        if not line.endswith(":")
    }
    assert seen == {
        *(".", "..", "console.log", "control.in", "control.out", "dev", "lib", "lib64", "own"),
        *("qemu.log", "usr", "kernel", "initrd"),
        *("kvm", "null", "ptmx", "pts", "urandom", "vhost-net"),
    }
    assert list_section_lines(console_lines, "read") == ["0"]


def test_a_guest_s_process_has_no_network_of_its_own(console_lines: list[str]) -> None:
    assert next(
        line for line in list_section_lines(console_lines, "sent") if re.match(r"\d+: ", line)
    ).startswith("1: lo: ")
    assert not any(
        line == "in" or re.match("[2-9]: ", line)
        for line in list_section_lines(console_lines, "sent")
    )


def test_a_guest_s_process_mounts_writes_and_removes_nothing(console_lines: list[str]) -> None:
    tried = "\n".join(list_section_lines(console_lines, "tried"))
    assert "mount: " in tried
    assert "unshare" in tried
    assert "/usr/bin/vm: Read-only" in tried or "can't create /usr/bin/vm" in tried
    assert "can't create /x" in tried
    assert "can't remove '/console.log'" in tried


def test_what_a_guest_s_process_writes_is_bounded(console_lines: list[str]) -> None:
    (line,) = list_section_lines(console_lines, "filled")
    assert 0 < int(line.split()[0]) <= 4096
    limits = list_section_lines(console_lines, "limits")
    assert str((96 + 256 + 3 * 40) << 20) in limits
    assert str(2 + 160) in limits


def test_the_files_of_running_guests_are_for_root_alone(console_lines: list[str]) -> None:
    assert list_section_lines(console_lines, "private")[0].startswith("total")
    owners = {tuple(line.split()[2:4]) for line in list_section_lines(console_lines, "private")[1:]}
    assert owners == {("0", "0")}


def test_the_log_of_a_guest_is_shown_without_what_a_terminal_obeys(
    console_lines: list[str],
) -> None:
    assert list_section_lines(console_lines, "log")[0].endswith(
        "^[]0;owned^G^[[2Jminbuild: kvm: forged"
    )
    assert list_section_lines(console_lines, "obeyed") == ["0"]
    assert "guest escape: ready: boot sector runs" in console_lines


def test_the_data_partition_runs_nothing_and_leads_nowhere(console_lines: list[str]) -> None:
    (line,) = list_section_lines(console_lines, "data")
    assert {"nodev", "nosuid", "noexec", "nosymfollow"} <= set(re.split(r"[(),\s]", line))


def test_the_host_s_own_tries_find_it_closed(console_lines: list[str]) -> None:
    for name in ("readonly", "mounts", "cores", "kernel", "users", "modules", "lockdown"):
        (line,) = [line for line in console_lines if line.startswith(f"{name}: ")]
        assert "FAILED" not in line
