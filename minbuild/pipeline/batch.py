"""Several manifests at once, with one store: each in a process that has loaded what all need."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from minbuild.errors import MinbuildError
from minbuild.footprint.model import Totals
from minbuild.manifest.loader import list_combinations
from minbuild.pipeline.build import (
    BuildResult,
    PreparedBuild,
    build_host,
    finish_build,
    load_manifest,
    prepare_build,
)
from minbuild.pipeline.session import BuildRequest, Session, read_lock_size, retry_on_corruption
from minbuild.pipeline.size_budget import check_size_budget
from minbuild.process import is_single_threaded
from minbuild.progress import Progress


@dataclass(frozen=True, slots=True)
class BuildOutcome:
    """What came of one manifest: no more than is shown, for it comes from another process."""

    name: str
    """The manifest's file, and the combination of its matrix."""
    seconds: float
    """Wall time of its own steps."""
    directory: Path | None = None
    """Where its images stand; None when it was not built."""
    totals: Totals | None = None
    rebuilt: bool = True
    """False: nothing had changed, and the images of the last build stand."""
    error: MinbuildError | None = None
    """Why it was not built, or is over its budget."""

    @property
    def has_failed(self) -> bool:
        """Tell whether it was not built."""
        return self.totals is None


def expand_matrices(requests: Sequence[BuildRequest]) -> tuple[BuildRequest, ...]:
    """Replace each manifest that has a matrix by one request for each combination."""
    cells: list[BuildRequest] = []
    for request in requests:
        names = () if request.cell else list_combinations(request.manifest)
        cells += [replace(request, cell=name) for name in names] or [request]
    return tuple(cells)


def build_all(
    requests: Sequence[BuildRequest], session: Session, *, jobs: int = 0, fail_fast: bool = False
) -> tuple[BuildOutcome, ...]:
    """Build manifests, in the order given; a failure stops the others only with `fail_fast`.

    The first one that is not built yet is prepared on all cores; so most of what they share is in
    the store, and loaded. Then each goes on in a process of its own, `jobs` at once (0: one for
    each core and one more, since each waits for tools and disks at times), those with the longest
    locks first. What one of them fetches, reads or packs, the others wait for and use.
    """
    cores = len(os.sched_getaffinity(0))
    jobs = jobs or cores + 1
    session = session.for_parallel_builds(min(cores, jobs, len(requests)))
    try:
        return _build_all(requests, session, jobs, fail_fast)
    finally:
        session.stop_preloaded_tools()


def _build_all(
    requests: Sequence[BuildRequest], session: Session, jobs: int, fail_fast: bool
) -> tuple[BuildOutcome, ...]:
    todo = list(requests)
    unreadable = _take_first_unreadable(todo, session) if fail_fast else []
    outcomes: list[BuildOutcome] = []
    tasks: list[Callable[[Session], BuildOutcome]] = []
    while todo and not tasks and not (fail_fast and any(one.has_failed for one in outcomes)):
        request = todo.pop(0)
        first_build = _PreparedInParent(request)
        outcome = first_build.prepare(session)
        if outcome is not None:
            outcomes.append(outcome)
        else:
            tasks = [first_build.finish, *(partial(_build_outcome, request) for request in todo)]
    order = [0, *sorted(range(1, len(tasks)), key=lambda index: -read_lock_size(todo[index - 1]))]
    return (*outcomes, *_run_all(tasks, order, session, jobs, fail_fast), *unreadable)


def _take_first_unreadable(requests: list[BuildRequest], session: Session) -> list[BuildOutcome]:
    """The outcome of the first manifest that cannot be read; it and all after it are taken away."""
    for index, request in enumerate(requests):
        outcome = _time_build(request, lambda request=request: load_manifest(request, session))  # type: ignore[misc]
        if outcome.error:
            del requests[index:]
            return [outcome]
    return []


def _run_all(
    tasks: Sequence[Callable[[Session], BuildOutcome]],
    order: Sequence[int],
    session: Session,
    jobs: int,
    fail_fast: bool,
) -> list[BuildOutcome]:
    """Do works, side by side in the order of their places; outcomes stand as the works do."""

    def is_final(outcome: BuildOutcome) -> bool:
        return fail_fast and outcome.has_failed

    if jobs > 1 and len(tasks) > 1 and is_single_threaded():
        from minbuild.pipeline.workers import run_in_forks

        def run_with_progress(
            task: Callable[[Session], BuildOutcome], progress: Progress
        ) -> BuildOutcome:
            own_session = session.with_progress(progress)
            try:
                return task(own_session)
            finally:
                own_session.store.close_this_thread()

        import minbuild.pipeline.host_outputs  # noqa: F401  imported once, for all of them

        session.store.close_this_thread()
        session.store.verified.share_with_forks()
        ordered_tasks = [partial(run_with_progress, tasks[index]) for index in order]
        results = run_in_forks(ordered_tasks, jobs, session.progress, is_final)
        return [results[number] for number in sorted(results, key=order.__getitem__)]
    outcomes: list[BuildOutcome] = []
    for task in tasks:
        outcomes.append(task(session))
        if is_final(outcomes[-1]):
            break
    return outcomes


class _PreparedInParent:
    """A build that is prepared in one process and finished in another."""

    def __init__(self, request: BuildRequest) -> None:
        self._request = request
        self._prepared: PreparedBuild | None = None
        self._seconds = 0.0

    def prepare(self, session: Session) -> BuildOutcome | None:
        """Take it to where its images are written; the outcome when it is over by then."""

        def attempt() -> BuildResult | None:
            build = prepare_build(self._request, session)
            if isinstance(build, BuildResult):
                return build
            self._prepared = build
            return None

        outcome = _time_build(self._request, lambda: retry_on_corruption(attempt, session))
        self._seconds = outcome.seconds
        return None if self._prepared is not None else outcome

    def finish(self, session: Session) -> BuildOutcome:
        """Write its images; when the store has lost something meanwhile, from the start again."""

        def attempt() -> BuildResult:
            prepared, self._prepared = self._prepared, None
            build = prepared or prepare_build(self._request, session)
            return build if isinstance(build, BuildResult) else finish_build(build, session)

        outcome = _time_build(self._request, lambda: retry_on_corruption(attempt, session))
        return replace(outcome, seconds=outcome.seconds + self._seconds)


def _build_outcome(request: BuildRequest, session: Session) -> BuildOutcome:
    return _time_build(request, lambda: build_host(request, session))


def _time_build(request: BuildRequest, task: Callable[[], object]) -> BuildOutcome:
    """Do work; its result counts when it is a build."""
    start = time.monotonic()
    outcome = BuildOutcome(request.provisional_name, 0)
    try:
        result = task()
        if isinstance(result, BuildResult):
            totals = result.footprint.totals
            outcome = BuildOutcome(
                result.manifest.name, 0, result.directory, totals, result.rebuilt
            )
            check_size_budget(result.manifest, totals)
    except MinbuildError as error:
        outcome = replace(outcome, error=error)
    return replace(outcome, seconds=time.monotonic() - start)
