"""Several manifests at once, with one store: each in a process that has loaded what all need."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from minbuild.build.again import again
from minbuild.build.life import Built, Prepared, finish, make, prepare, read
from minbuild.build.request import Doors, Request, work_expected
from minbuild.build.verdict import judge
from minbuild.errors import MinbuildError
from minbuild.footprint.types import Totals
from minbuild.manifest.load import combinations
from minbuild.progress import Progress
from minbuild.run import alone


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one manifest: no more than is shown, for it comes from another process."""

    name: str
    """The manifest's file, and the combination of its matrix."""
    seconds: float
    """Wall time of its own steps."""
    directory: Path | None = None
    """Where its images stand; None when it was not built."""
    totals: Totals | None = None
    fresh: bool = True
    """False: nothing had changed, and the images of the last build stand."""
    error: MinbuildError | None = None
    """Why it was not built, or is over its budget."""

    @property
    def failed(self) -> bool:
        """Tell whether it was not built."""
        return self.totals is None


def expanded(requests: Sequence[Request]) -> tuple[Request, ...]:
    """Replace each manifest that has a matrix by one request for each combination."""
    found: list[Request] = []
    for request in requests:
        names = () if request.cell else combinations(request.manifest)
        found += [replace(request, cell=name) for name in names] or [request]
    return tuple(found)


def make_all(
    requests: Sequence[Request], doors: Doors, *, jobs: int = 0, fail_fast: bool = False
) -> tuple[Outcome, ...]:
    """Build manifests, in the order given; a failure stops the others only with `fail_fast`.

    The first one that is not built yet is prepared on all cores; so most of what they share is in
    the store, and loaded. Then each goes on in a process of its own, `jobs` at once (0: one for
    each core and one more, since each waits for tools and disks at times), those with the longest
    locks first. What one of them fetches, reads or packs, the others wait for and use.
    """
    cores = len(os.sched_getaffinity(0))
    jobs = jobs or cores + 1
    doors = doors.shared(min(cores, jobs, len(requests)))
    try:
        return _make_all(requests, doors, jobs, fail_fast)
    finally:
        doors.rest()


def _make_all(
    requests: Sequence[Request], doors: Doors, jobs: int, fail_fast: bool
) -> tuple[Outcome, ...]:
    todo = list(requests)
    refused = _refused(todo, doors) if fail_fast else []
    done: list[Outcome] = []
    works: list[Callable[[Doors], Outcome]] = []
    while todo and not works and not (fail_fast and any(one.failed for one in done)):
        request = todo.pop(0)
        begun = _Begun(request)
        outcome = begun.prepare(doors)
        if outcome is not None:
            done.append(outcome)
        else:
            works = [begun.finish, *(partial(_made, request) for request in todo)]
    order = [0, *sorted(range(1, len(works)), key=lambda place: -work_expected(todo[place - 1]))]
    return (*done, *_all(works, order, doors, jobs, fail_fast), *refused)


def _refused(requests: list[Request], doors: Doors) -> list[Outcome]:
    """The outcome of the first manifest that cannot be read; it and all after it are taken away."""
    for place, request in enumerate(requests):
        outcome = _timed(request, lambda request=request: read(request, doors))  # type: ignore[misc]
        if outcome.error:
            del requests[place:]
            return [outcome]
    return []


def _all(
    works: Sequence[Callable[[Doors], Outcome]],
    order: Sequence[int],
    doors: Doors,
    jobs: int,
    fail_fast: bool,
) -> list[Outcome]:
    """Do works, side by side in the order of their places; outcomes stand as the works do."""

    def last(outcome: Outcome) -> bool:
        return fail_fast and outcome.failed

    if jobs > 1 and len(works) > 1 and alone():
        from minbuild.build.forked import side_by_side

        def told(work: Callable[[Doors], Outcome], progress: Progress) -> Outcome:
            own = doors.told(progress)
            try:
                return work(own)
            finally:
                own.store.rest()

        import minbuild.build.packing  # noqa: F401  imported once, for all of them

        doors.store.rest()
        doors.store.checked.share()
        ordered = [partial(told, works[place]) for place in order]
        found = side_by_side(ordered, jobs, doors.progress, last)
        return [found[number] for number in sorted(found, key=order.__getitem__)]
    outcomes: list[Outcome] = []
    for work in works:
        outcomes.append(work(doors))
        if last(outcomes[-1]):
            break
    return outcomes


class _Begun:
    """A build that is prepared in one process and finished in another."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._ready: Prepared | None = None
        self._seconds = 0.0

    def prepare(self, doors: Doors) -> Outcome | None:
        """Take it to where its images are written; the outcome when it is over by then."""

        def steps() -> Built | None:
            found = prepare(self._request, doors)
            if isinstance(found, Built):
                return found
            self._ready = found
            return None

        outcome = _timed(self._request, lambda: again(steps, doors))
        self._seconds = outcome.seconds
        return None if self._ready is not None else outcome

    def finish(self, doors: Doors) -> Outcome:
        """Write its images; when the store has lost something meanwhile, from the start again."""

        def steps() -> Built:
            ready, self._ready = self._ready, None
            found = ready or prepare(self._request, doors)
            return found if isinstance(found, Built) else finish(found, doors)

        outcome = _timed(self._request, lambda: again(steps, doors))
        return replace(outcome, seconds=outcome.seconds + self._seconds)


def _made(request: Request, doors: Doors) -> Outcome:
    return _timed(request, lambda: make(request, doors))


def _timed(request: Request, work: Callable[[], object]) -> Outcome:
    """Do work; its result counts when it is a build."""
    start = time.monotonic()
    outcome = Outcome(request.stem, 0)
    try:
        found = work()
        if isinstance(found, Built):
            totals = found.footprint.totals
            outcome = Outcome(found.manifest.name, 0, found.directory, totals, found.fresh)
            judge(found.manifest, totals)
    except MinbuildError as error:
        outcome = replace(outcome, error=error)
    return replace(outcome, seconds=time.monotonic() - start)
