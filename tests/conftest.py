"""What holds for the whole suite."""

import os
import random
import signal

import pytest
from hypothesis import settings

# no timed assertions, machines differ; no database, a checkout may be read-only
settings.register_profile("minbuild", deadline=None, database=None)
settings.load_profile("minbuild")

# a shell's background job ignores Ctrl-C, and so would every program that a test interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)

SEED = "MINBUILD_ORACLE_SEED"
SAMPLED = ("tests/oracle/", "tests/e2e/", "tests/unit/lab/", "tests/unit/image/")
"""Directories whose tests take a sample by the seed."""


def pytest_configure() -> None:
    # in the environment: the workers of one run take one sample
    os.environ.setdefault(SEED, str(random.SystemRandom().randrange(10**6)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Do what boots once more when it fails, and say so in the summary (R).

    QEMU's emulation loses a machine at times, guests in guests most of all: a fault of ours shows
    twice.
    """
    for item in items:
        if item.get_closest_marker("boot") is not None:
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Know what runs machines before the first test that starts one."""
    if item.get_closest_marker("boot") is not None:
        from tests.support.accelerator import (
            settle_accelerator,
        )  # slow: most runs of one test need none of it

        settle_accelerator()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which sample the run took, for whoever wants it again."""
    ran = [one for key in ("passed", "failed") for one in terminalreporter.stats.get(key, ())]
    sampled = any(one.nodeid.startswith(SAMPLED) for one in ran)
    if sampled and os.environ.get("MINBUILD_ORACLE") != "all":
        terminalreporter.write_line(f"sample of the run: {SEED}={os.environ[SEED]}")
