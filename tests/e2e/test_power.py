"""What a person at the console has, and what the host does when memory runs out, a step dies, its clock is wrong, or the kernel panics."""

import re
from pathlib import Path

import pytest

from minbuild.lab.boot import boot_image
from minbuild.lab.model import (
    BootProbe,
    BootRequest,
    ConsoleAction,
    FaultInjection,
    Firmware,
    LineSource,
    LogLine,
    ProbePattern,
    ProbeState,
)
from minbuild.progress import SilentProgress
from tests.e2e.small_host import minbuild
from tests.support.lab import STORE, make_boot_setup, require_namespace
from tests.support.sample import sampled_feature

pytestmark = [pytest.mark.mirror, pytest.mark.boot]

MANIFEST = """\
minbuild: 1
name: power
extends: [debug]
boot: {use: [vga-console]}
vars: {panic_seconds: 5}
files:
  /usr/lib/minbuild/steps/40-dies: {content: "#!/bin/sh\\nkill -9 $$\\n", mode: "0755"}
image: {formats: [uki], compression: zstd}
"""
LIMIT = 300
OWN = ("syslogd", "klogd", "udhcpc", "ntpd")
"""The host's own processes; each would be started again, and that be said, if it ended."""
TICK = (
    's=$(date +%s); until [ $(date +%s) != $s ]; do :; done; echo "<5>clock $(date +%s)" >/dev/kmsg'
)
COUNT = (
    f"for p in {' '.join(OWN)}; do ps | grep -q [^a-z]$p || echo '<5>lost' $p >/dev/kmsg; done; "
    "echo '<5>counted' >/dev/kmsg"
)


SCREEN = (
    "until ls -l /proc/[0-9]*/fd/0 2>/dev/null | grep -q /dev/tty1 && grep -q 'minhost:~# ' /dev/vcs1; "
    "do sleep 1; done; echo '<5>screen has a prompt' >/dev/kmsg"
)
"""Typed on the serial line: the screen, whose console= is the last one, has a shell of its own."""


def type_command(after: str, command: str) -> ConsoleAction:
    """What a person at the console types."""
    return ConsoleAction(re.compile(after), keys=f"{command}\r")


def expect_line(name: str, pattern: str, source: LineSource = LineSource.CONSOLE) -> BootProbe:
    return BootProbe(name, (ProbePattern(source, re.compile(pattern)),), LIMIT, "it was not seen")


def find_last_line(lines: tuple[LogLine, ...], pattern: str) -> tuple[LogLine, re.Match[str]]:
    """The last line that matches."""
    hits = [(line, match) for line in lines if (match := re.search(pattern, line.text))]
    return hits[-1]


@sampled_feature("power")
def test_what_goes_wrong_is_said_and_survived_and_a_panic_restarts(tmp_path: Path) -> None:
    (tmp_path / "power.yaml").write_text(MANIFEST)
    ended = minbuild("make", "power.yaml", "--store", str(STORE), cwd=tmp_path)
    efi = tmp_path / "build" / "power" / "power.efi"
    assert efi.exists(), ended.err
    stage = make_boot_setup(efi)
    require_namespace(stage.toolbox)
    request = BootRequest(
        efi,
        (
            expect_line("step", r"init: step 40-dies failed \(status 137\)"),
            expect_line("screen", r"^\[.*\] screen has a prompt"),
            expect_line("clock", r"^\[.*\] clock \d+"),
            expect_line("memory", r"Out of memory: Killed process \d+ \(tail\)"),
            expect_line("alive", r"^\[.*\] counted"),
            expect_line("panic", r"Kernel panic - not syncing: sysrq triggered crash"),
            expect_line("never", "no such line"),
        ),
        firmware=Firmware.DIRECT,
        memory=384,
        timeout=LIMIT,
        faults=FaultInjection(no_disk=True, clock="2020-01-01T00:00:00", ignore_fatal_lines=True),
        actions=(
            type_command("time: set to", SCREEN),
            type_command(r"^\[.*\] screen has a prompt", TICK),
            type_command(r"^\[.*\] clock \d+", "tail /dev/zero"),
            type_command("Out of memory: Killed process", COUNT),
            type_command(r"^\[.*\] counted", "echo c >/proc/sysrq-trigger"),
        ),
    )
    result = boot_image(request, stage.toolbox, SilentProgress())
    console = "\n".join(line.text for line in result.lines[-60:])
    states = {one.name: one.state for one in result.outcomes}
    assert {name for name, state in states.items() if state is not ProbeState.PASSED} == {
        "never"
    }, console
    # QEMU ends at the restart; the kernel's own wait lies between
    assert result.end_reason == "the machine switched itself off or restarted"
    panic, _ = find_last_line(result.lines, "Kernel panic")
    assert result.seconds - panic.seconds > 4
    # none of the host's own was killed, and none was started again
    text = "\n".join(line.text for line in result.lines)
    assert not re.search(rf"\] lost|({'|'.join(OWN)}|dhcp|time): ended \(status", text), console
    assert re.findall(r"Killed process \d+ \((\S+)\)", text) == ["tail"] * text.count(
        "Killed process"
    )
    document, true = find_last_line(result.lines, r"ntp: told \S+ the time, ([\d.]+)")
    output, host = find_last_line(result.lines, r"^\[.*\] clock (\d+)$")
    assert abs((float(host[1]) - float(true[1])) - (output.seconds - document.seconds)) < 1
