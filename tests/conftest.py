"""What holds for the whole suite."""

import os
import random
import signal
import sys
import zlib
from collections.abc import Generator, Sequence

import pytest
from hypothesis import settings

from tests.support.cache import cache_directory

# no timed assertions, machines differ; no database, a checkout may be read-only
settings.register_profile("minbuild", deadline=None, database=None)
settings.load_profile("minbuild")

# every command that a test starts would be compiled anew: half of what a short one takes
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(cache_directory("bytecode"))
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# a shell's background job ignores Ctrl-C, and so would every program that a test interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)

SEED = "MINBUILD_ORACLE_SEED"
BACKGROUND = 10
"""Niceness of the workers that boot nothing: what boots takes longest, and the others fill its pauses."""
SAMPLED = ("tests/oracle/", "tests/e2e/", "tests/unit/lab/", "tests/unit/image/")
"""Directories whose tests take a sample by the seed."""


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a run whose groups mean nothing: each worker would build and boot what they share.

    pytest-xdist 3.8 writes a group into `_nodeid` of a test, which pytest 9.2 no longer has.
    """
    if config.getoption("dist", "no") == "loadgroup" and not hasattr(pytest.Item, "_nodeid"):
        raise pytest.UsageError(
            f"pytest-xdist cannot group tests with pytest {pytest.__version__}: install pytest below 9.2"
        )
    # in the environment: the workers of one run take one sample
    os.environ.setdefault(SEED, str(random.SystemRandom().randrange(10**6)))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    if int(worker) >= _count_lanes():
        os.nice(BACKGROUND)


def _count_lanes() -> int:
    """Workers that boot machines: the first ones, since what boots is given out first."""
    return max(1, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) // 2)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: what boots waits for its machine more than it computes."""
    chosen = os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS")
    return int(chosen) if chosen else len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Do what boots once more when it fails, on few workers, and before what does not boot.

    QEMU's emulation loses a machine at times, guests in guests most of all: a fault of ours shows
    twice. The summary has an R for a second try. Among its like each test has the place that the
    seed gave it. pytest-xdist reads the groups in between, and writes them into the tests' names.
    """
    boots = [item for item in items if item.get_closest_marker("boot") is not None]
    for item in boots:
        item.add_marker(pytest.mark.flaky(reruns=1))
    _join_boots(items, boots)
    yield
    items.sort(key=_rank_duration)


def _join_boots(items: Sequence[pytest.Item], boots: Sequence[pytest.Item]) -> None:
    """Give what boots to one worker of two or three: an emulated machine takes two cores.

    Side by side on two cores, two of them take longer than one after the other. A group of
    which a test boots comes along, so that what its tests share is made once. pytest-xdist joins
    the names of all groups of a test to one: a lane's name takes their place.
    """
    lanes = _count_lanes()
    groups = {_name_group(item) for item in boots}
    joined = [(item, name) for item in items if (name := _name_group(item)) in groups]
    for item, name in joined:
        for node in item.listchain():
            node.own_markers[:] = [mark for mark in node.own_markers if mark.name != "xdist_group"]
        item.add_marker(pytest.mark.xdist_group(f"boots{zlib.crc32(name.encode()) % lanes}"))


def _name_group(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    return str(marker.args[0]) if marker is not None else item.nodeid.partition("[")[0]


def _rank_duration(item: pytest.Item) -> int:
    """0 for those that take longest; a group is one piece of work for one worker."""
    if _name_group(item).startswith("boots"):
        return 0
    markers = ("xdist_group", "mirror")
    ranks = (rank for rank, name in enumerate(markers, 1) if item.get_closest_marker(name))
    return next(ranks, 3)


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
