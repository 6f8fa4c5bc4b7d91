"""Effective time on a busy machine, measured with real processes and a boot."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from minbuild.lab.boot import boot_image
from minbuild.lab.model import (
    BootProbe,
    BootRequest,
    LineSource,
    LogLine,
    Network,
    ProbePattern,
    ProbeState,
)
from minbuild.lab.probes import ProbeTracker
from minbuild.lab.worker.client import RunDelayMeter, iter_process_tree, read_run_delays
from minbuild.progress import SilentProgress
from tests.unit.lab.conftest import Bench

SPIN = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"
NEST = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@contextmanager
def running(count: int, *words: str) -> Iterator[list[int]]:
    """So many processes, ended at the end with what they started."""
    started = [
        subprocess.Popen([sys.executable, "-c", *words], start_new_session=True)
        for _ in range(count)
    ]
    try:
        yield [one.pid for one in started]
    finally:
        for one in started:
            os.killpg(one.pid, 9)
            one.wait()


def measure_lost_time(meter: RunDelayMeter, start: float) -> float:
    """Measure the seconds since `start` that a process waited for a processor."""
    passed = time.monotonic() - start
    return passed - meter.to_effective_seconds(passed)


def test_processes_that_share_a_processor_had_a_part_of_the_time() -> None:
    with running(2, SPIN) as two, running(1, NEST, SPIN) as (nested,):
        followed = [RunDelayMeter(process) for process in (*two, nested)]
        start = time.monotonic()
        while min(measure_lost_time(meter, start) for meter in followed) < 1:
            assert time.monotonic() - start < 60, "no process waited"
            time.sleep(0.05)
        passed = time.monotonic() - start
        assert all(meter.to_effective_seconds(passed) > 0 for meter in followed)
        assert len(list(iter_process_tree(nested))) == 2


def test_threads_that_wait_in_turn_are_added_up() -> None:
    """Of two that are followed each waits for a while, and neither for as long as both."""
    turns = (
        "import os, threading, time; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "def spin(start):\n"
        "    time.sleep(start); end = time.monotonic() + 1.5\n"
        "    while time.monotonic() < end: sum(range(50))\n"
        "for start in (0, 1.5): threading.Thread(target=spin, args=(start,)).start()\n"
    )
    with running(1, SPIN), running(1, turns) as (process,):
        meter, start, longest = RunDelayMeter(process), time.monotonic(), 0.0
        had = 0.0
        while (passed := time.monotonic() - start) < 3:
            had = meter.to_effective_seconds(passed)
            longest = max(longest, *read_run_delays(process).values(), 0.0)
            time.sleep(0.05)
        assert passed - had > longest


def test_a_process_that_sleeps_had_all_of_it() -> None:
    with running(1, "import time; time.sleep(600)") as (one,):
        time.sleep(0.3)
        assert RunDelayMeter(one).to_effective_seconds(1000) > 999


def test_a_process_that_is_gone_waits_no_more() -> None:
    with running(1, "pass") as (one,):
        pass
    assert read_run_delays(one) == {}


def test_a_limit_is_held_against_what_the_machine_had() -> None:
    sign = ProbePattern(LineSource.CONSOLE, re.compile("up"))
    watch = ProbeTracker((BootProbe("init", (sign,), 10, "x"), BootProbe("late", (sign,), 4, "x")))
    watch.add_line(LogLine(LineSource.CONSOLE, 60.0, "up", 5.0))
    first, second = watch.list_outcomes()
    assert (first.state, first.seconds) == (ProbeState.PASSED, 60.0)
    assert second.state is ProbeState.FAILED


@pytest.mark.mirror
@pytest.mark.boot
@pytest.mark.long
def test_a_boot_on_a_busy_processor_has_its_time(bench: Bench) -> None:
    """Five processes turn round on the one processor that the lab may use."""
    probe = BootProbe(
        "init", (ProbePattern(LineSource.CONSOLE, re.compile("minbuild: init")),), 15, "x"
    )
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        with running(5, SPIN):
            request = BootRequest(
                bench.kernel, (probe,), initramfs=bench.initramfs, cmdline="console=ttyS0",
                network=Network.USER, timeout=15,
            )  # fmt: skip
            result = boot_image(request, bench.tools, SilentProgress())
    finally:
        os.sched_setaffinity(0, before)
    assert result.passed, (result.end_reason, result.seconds)
    assert result.seconds > 15
