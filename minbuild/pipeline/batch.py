"""Several manifests in one run: the first one loads what all need, then each is built in a fork."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from minbuild.errors import MinbuildError
from minbuild.footprint.model import Totals
from minbuild.parallel import count_cpus, is_single_threaded
from minbuild.pipeline.build import build_host
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.session import BuildRequest, Session, read_lock_size
from minbuild.pipeline.size_budget import check_size_budget
from minbuild.pipeline.up_to_date import find_last_build
from minbuild.pipeline.workers import run_in_forks
from minbuild.progress import Progress


@dataclass(frozen=True, slots=True)
class BuildOutcome:
    """Result of one manifest: no more than is shown, since it comes from another process."""

    name: str
    """The manifest's name; before it is read, its file's, with the combination of its matrix."""
    seconds: float
    """Wall time of its own steps."""
    directory: Path | None = None
    """Where its images are; None when it was not built."""
    totals: Totals | None = None
    rebuilt: bool = True
    """False: nothing has changed since the last build, whose images these are."""
    error: MinbuildError | None = None
    """Why it was not built, or is over its budget."""

    @property
    def has_failed(self) -> bool:
        """Tell whether it was not built."""
        return self.totals is None


def build_all(
    requests: Sequence[BuildRequest], session: Session, *, jobs: int = 0, fail_fast: bool = False
) -> tuple[BuildOutcome, ...]:
    """Build manifests, in the order given; a failure stops the others only with `fail_fast`.

    The first one with changes is built in this process, on all cores; so most of what they share is
    in the cache, and loaded. Then each is built in a fork, `jobs` at once (0: one for each core and
    one more, since each waits for tools and disks at times), those with the longest locks first.
    What one of them fetches, reads or packs, the others wait for and use.
    """
    cores = count_cpus()
    jobs = jobs or cores + 1
    session = session.for_parallel_builds(min(cores, jobs, len(requests)))
    todo = list(requests)
    outcomes: list[BuildOutcome] = []
    try:
        unreadable = _take_first_unreadable(todo, session) if fail_fast else []
        while todo and not any(one.rebuilt and not one.has_failed for one in outcomes):
            outcomes.append(_build(todo.pop(0), session))
            if fail_fast and outcomes[-1].has_failed:
                todo.clear()
        outcomes += _build_in_forks(todo, session, jobs, fail_fast=fail_fast)
        return (*outcomes, *unreadable)
    finally:
        session.stop_preloaded_tools()


def _take_first_unreadable(requests: list[BuildRequest], session: Session) -> list[BuildOutcome]:
    """The outcome of the first manifest that cannot be read; it and all after it are taken away."""
    for index, request in enumerate(requests):
        start = time.monotonic()
        try:
            load_manifest(request, session)
        except MinbuildError as error:
            del requests[index:]
            seconds = time.monotonic() - start
            return [BuildOutcome(request.provisional_name, seconds, error=error)]
    return []


def _build(request: BuildRequest, session: Session) -> BuildOutcome:
    """Build a manifest, unless nothing has changed; an error becomes part of the outcome."""
    start = time.monotonic()
    outcome = BuildOutcome(request.provisional_name, 0)
    try:
        result = find_last_build(request, session) or build_host(request, session)
        name, totals = result.manifest.name, result.footprint.totals
        outcome = BuildOutcome(name, 0, result.directory, totals, result.rebuilt)
        check_size_budget(result.manifest, totals)
    except MinbuildError as error:
        outcome = replace(outcome, error=error)
    return replace(outcome, seconds=time.monotonic() - start)


def _build_in_forks(
    requests: Sequence[BuildRequest], session: Session, jobs: int, *, fail_fast: bool
) -> list[BuildOutcome]:
    """Build manifests side by side, the longest locks first; outcomes are in the order given.

    One after the other where this process has threads, which no fork survives.
    """
    if jobs == 1 or len(requests) < 2 or not is_single_threaded():
        outcomes: list[BuildOutcome] = []
        for request in requests:
            outcomes.append(_build(request, session))
            if fail_fast and outcomes[-1].has_failed:
                break
        return outcomes
    session.store.close_this_thread()  # no connection to SQLite survives a fork
    session.store.verified.share_with_forks()
    order = sorted(range(len(requests)), key=lambda index: -read_lock_size(requests[index]))
    tasks = [partial(_build_in_fork, requests[index], session) for index in order]
    results = run_in_forks(
        tasks, jobs, session.progress, lambda outcome: fail_fast and outcome.has_failed
    )
    return [results[number] for number in sorted(results, key=order.__getitem__)]


def _build_in_fork(request: BuildRequest, session: Session, progress: Progress) -> BuildOutcome:
    own_session = session.with_progress(progress)
    try:
        return _build(request, own_session)
    finally:
        own_session.store.close_this_thread()
