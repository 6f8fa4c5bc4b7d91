"""What a busy machine takes from a guest does not count: held against the kernel's own scheduling."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from minbuild.lab.boot import boot
from minbuild.lab.granted import Granted, descent, waits
from minbuild.lab.probes import Watch
from minbuild.lab.types import (
    BootRequest,
    Line,
    Network,
    Probe,
    Sign,
    Source,
    State,
)
from minbuild.progress import Silent
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


def lost(granted: Granted, began: float) -> float:
    """Seconds since `began` that a process did not have."""
    passed = time.monotonic() - began
    return passed - granted.of(passed)


def test_processes_that_share_a_processor_had_a_part_of_the_time() -> None:
    with running(2, SPIN) as two, running(1, NEST, SPIN) as (nested,):
        followed = [Granted(process) for process in (*two, nested)]
        began = time.monotonic()
        while min(lost(granted, began) for granted in followed) < 1:
            assert time.monotonic() - began < 60, "no process waited"
            time.sleep(0.05)
        passed = time.monotonic() - began
        assert all(granted.of(passed) > 0 for granted in followed)
        assert len(list(descent(nested))) == 2


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
        granted, began, longest = Granted(process), time.monotonic(), 0.0
        while (passed := time.monotonic() - began) < 3:
            had = granted.of(passed)
            longest = max(longest, *waits(process).values(), 0.0)
            time.sleep(0.05)
        assert passed - had > longest


def test_a_process_that_sleeps_had_all_of_it() -> None:
    with running(1, "import time; time.sleep(600)") as (one,):
        time.sleep(0.3)
        assert Granted(one).of(1000) > 999


def test_a_process_that_is_gone_waits_no_more() -> None:
    with running(1, "pass") as (one,):
        pass
    assert waits(one) == {}


def test_a_limit_is_held_against_what_the_machine_had() -> None:
    sign = Sign(Source.CONSOLE, re.compile("up"))
    watch = Watch((Probe("init", (sign,), 10, "x"), Probe("late", (sign,), 4, "x")))
    watch.feed(Line(Source.CONSOLE, 60.0, "up", 5.0))
    first, second = watch.outcomes()
    assert (first.state, first.seconds) == (State.PASSED, 60.0)
    assert second.state is State.FAILED


@pytest.mark.mirror
@pytest.mark.boot
@pytest.mark.long
def test_a_boot_on_a_busy_processor_has_its_time(bench: Bench) -> None:
    """Five processes turn round on the one processor that the lab may use."""
    told = Probe("init", (Sign(Source.CONSOLE, re.compile("minbuild: init")),), 15, "x")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        with running(5, SPIN):
            wish = BootRequest(
                bench.kernel, (told,), initramfs=bench.initramfs, cmdline="console=ttyS0",
                network=Network.USER, timeout=15,
            )  # fmt: skip
            result = boot(wish, bench.tools, Silent())
    finally:
        os.sched_setaffinity(0, before)
    assert result.passed, (result.ended, result.seconds)
    assert result.seconds > 15
