"""How one program is run and measured: wall time, processor time, most memory."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

from minbuild.archive.mirror import find_mirror

T = TypeVar("T")

MEASURE = """
import os, sys, time
began = time.monotonic()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(child, 0)
seconds = time.monotonic() - began
with open(sys.argv[1], "w") as report:
    code = os.waitstatus_to_exitcode(status)
    print(code, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss, file=report)
"""
"""Run from a small process: a program's peak is never less than that of what started it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a program with all that it started."""

    seconds: float
    cpu: float
    """Seconds of processor time, user and system."""
    peak: int
    """Bytes of the largest of its processes."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where measurements are made, and how often."""

    work: Path
    rounds: int
    mirror: str
    """Debian's address, for the peers; minbuild finds the same one by itself."""


class Failed(Exception):
    """A program that was to be measured ended badly."""


def bench(work: Path, rounds: int, mirror: str) -> Bench:
    """Know where to measure; `mirror` is "" for the one that minbuild would use."""
    return Bench(work.resolve(), rounds, find_mirror(mirror).debian)


def run_timed(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    ends: Sequence[int] = (0,),
) -> Run:
    """Run a program to its end; its output goes to `cwd`/log.

    Raises: Failed when its exit code is none of `ends`.
    """
    log, report = cwd / "log", cwd / "measured"
    small = [sys.executable, "-I", "-S", "-c", MEASURE, os.fspath(report)]
    with log.open("wb") as output:
        subprocess.run(
            [*small, *(os.fspath(word) for word in argv)],
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=True,
        )
    code, seconds, cpu, peak = report.read_text(encoding="ascii").split()
    if int(code) not in ends:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        raise Failed("\n".join([f"{Path(argv[0]).name} ended with {code}", *last]))
    return Run(float(seconds), float(cpu), int(peak) * 1024)


def minbuild(*argv: str | Path, cwd: Path, store: Path, ends: Sequence[int] = (0,)) -> Run:
    """Run the command of this checkout as a shell would."""
    remaining = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env = remaining | {"MINBUILD_STORE": str(store)}
    program = Path(sys.executable).with_name("minbuild")
    return run_timed([program, *argv], cwd=cwd, env=env, ends=ends)


def compute_median(runs: Sequence[Run]) -> Run:
    """The medians of several runs, and the most memory of any."""
    return Run(
        median(run.seconds for run in runs),
        median(run.cpu for run in runs),
        max(run.peak for run in runs),
    )


def within(work: Callable[[], T]) -> tuple[float, T]:
    """Do work in this process; returns its seconds and its result."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result
