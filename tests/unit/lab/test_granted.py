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
from minbuild.lab.granted import Granted, descent, waited
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


def test_processes_that_share_a_processor_had_a_part_of_the_time() -> None:
    with running(2, SPIN) as two, running(1, NEST, SPIN) as (nested,):
        began = time.monotonic()
        while min(waited(one) for one in (*two, nested)) < 0.3:
            assert time.monotonic() - began < 60, "nobody waited"
            time.sleep(0.05)
        passed = time.monotonic() - began
        assert 0 < Granted(two[0]).of(passed) <= passed - 0.3
        assert len(list(descent(nested))) == 2


def test_a_process_that_sleeps_had_all_of_it() -> None:
    with running(1, "import time; time.sleep(600)") as (one,):
        time.sleep(0.3)
        assert Granted(one).of(1000) > 999


def test_a_process_that_is_gone_waits_no_more() -> None:
    with running(1, "pass") as (one,):
        pass
    assert waited(one) == 0


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
