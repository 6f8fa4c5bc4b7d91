"""Several manifests at once: fetched, resolved and packed with one store, written side by side."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from minbuild.build.again import again
from minbuild.build.life import Built, Prepared, finish, prepare
from minbuild.build.request import Doors, Request
from minbuild.errors import MinbuildError
from minbuild.manifest.load import combinations

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one manifest."""

    name: str
    """The manifest's file, and the combination of its matrix."""
    built: Built | None
    error: MinbuildError | None
    """Why it was not built; None when it was."""
    seconds: float
    """Wall time of its own steps."""


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

    Packages, facts and segments are made once for all: manifests are prepared one after the
    other, each on all cores, and their images are written side by side, `jobs` at a time (0: one
    for each core), while the next is prepared.
    """
    with ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0))) as pool:
        outcomes: list[Future[Outcome]] = []
        for request in requests:
            ready = _prepared(request, doors)
            outcomes.append(pool.submit(_finished, ready, doors))
            if fail_fast and isinstance(ready, Outcome) and ready.error is not None:
                break
        return tuple(outcome.result() for outcome in outcomes)


def _prepared(request: Request, doors: Doors) -> Prepared | Outcome:
    def steps() -> Prepared | Built:
        found = prepare(request, doors)
        if isinstance(found, Prepared):
            _packed(found, doors)
        return found

    start = time.monotonic()
    made, error = _tried(lambda: again(steps, doors))
    if isinstance(made, Prepared):
        return made
    return Outcome(_name(request), made, error, time.monotonic() - start)


def _packed(ready: Prepared, doors: Doors) -> None:
    from minbuild.image import segments

    manifest = ready.ground.manifest
    segments.pack(
        ready.tree,
        doors.store,
        ready.toolbox,
        manifest.image.compression,
        arch=manifest.arch,
        progress=doors.progress,
    )


def _finished(ready: Prepared | Outcome, doors: Doors) -> Outcome:
    if isinstance(ready, Outcome):
        return ready
    start = time.monotonic()
    built, error = _tried(lambda: finish(ready, doors))
    return Outcome(ready.ground.manifest.name, built, error, time.monotonic() - start)


def _tried(work: Callable[[], T]) -> tuple[T | None, MinbuildError | None]:
    try:
        return work(), None
    except MinbuildError as error:
        return None, error


def _name(request: Request) -> str:
    return f"{request.manifest.stem}-{request.cell}" if request.cell else request.manifest.stem
