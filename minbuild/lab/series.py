"""The same boot several times: what its times are then, in a table and as JSON."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from minbuild.escape import printable
from minbuild.lab.boot import boot
from minbuild.lab.table import bar, room, summary, to_json
from minbuild.lab.types import BootRequest, BootResult, Outcome, State, Tools
from minbuild.progress import Progress

SCHEMA = "minbuild.boots/1"


@dataclass(frozen=True, slots=True)
class Spread:
    """The times of one probe over all boots in which it was seen."""

    least: float
    median: float
    most: float


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one probe."""

    name: str
    passed: int
    of: int
    """Boots in which it was asked."""
    seconds: Spread | None
    """Wall time since power-on; None when it was never seen."""
    uptime: Spread | None
    """The host's own clock."""


def boots(
    request: BootRequest, tools: Tools, progress: Progress, count: int
) -> tuple[BootResult, ...]:
    """Boot `count` times, one after the other, whether probes are met or not.

    Logs and kept files of several boots are numbered: FILE.1, DIR/1.
    Raises: as `boot`.
    """
    if count == 1:
        return (boot(request, tools, progress),)
    results = []
    for number in range(1, count + 1):
        log, keep = request.log, request.keep
        one = replace(
            request,
            log=log and log.with_name(f"{log.name}.{number}"),
            keep=keep and keep / str(number),
        )
        progress.note(f"boot {number} of {count}")
        results.append(boot(one, tools, progress))
    return tuple(results)


def rows(results: Sequence[BootResult]) -> tuple[Row, ...]:
    """One row for each probe, in the order of the boots' own."""
    return tuple(
        _row([result.outcomes[number] for result in results])
        for number in range(len(results[0].outcomes))
    )


def _row(outcomes: Sequence[Outcome]) -> Row:
    met = [one for one in outcomes if one.state is State.PASSED]
    asked = [one for one in outcomes if one.state is not State.SKIPPED]
    return Row(
        outcomes[0].name,
        len(met),
        len(asked),
        _spread(met, lambda one: one.seconds),
        _spread(met, lambda one: one.uptime),
    )


def _spread(outcomes: Sequence[Outcome], time: Callable[[Outcome], float | None]) -> Spread | None:
    times = [value for one in outcomes if (value := time(one)) is not None]
    return Spread(min(times), median(times), max(times)) if times else None


def table(results: Sequence[BootResult], width: int = 0) -> tuple[str, ...]:
    """A line for each probe: how often it was met, its least, median and greatest time, a bar.

    `width` is the terminal's; 0 is one without an end.
    """
    found = [replace(row, name=printable(row.name)) for row in rows(results)]
    name = max(5, *(len(row.name) for row in found)) if found else 5
    longest = max((row.seconds.median for row in found if row.seconds), default=0.0)
    head = f"{'probe':<{name}}  {'met':>7}  {'least':>7} {'median':>7} {'most':>7}  {'uptime':>6}"
    columns = room(width, len(head) + 2)
    lines = [_line(row, name, longest, columns) for row in found]
    return (head, *lines, "", f"boots        {len(results)}", *summary(results[-1], width))


def _line(row: Row, name: int, longest: float, columns: int) -> str:
    start = f"{row.name:<{name}}  {f'{row.passed} of {row.of}':>7}"
    if row.seconds is None:
        return start if row.of else f"{row.name:<{name}}  skipped"
    one = row.seconds
    uptime = f"{row.uptime.median:.2f}" if row.uptime else ""
    drawn = bar(one.median, longest, columns)
    return f"{start}  {one.least:>7.2f} {one.median:>7.2f} {one.most:>7.2f}  {uptime:>6}  {drawn}"


def document(results: Sequence[BootResult]) -> dict[str, object]:
    """The results as data: schema `minbuild.boots/1`, times in seconds."""
    return {
        "schema": SCHEMA,
        "passed": all(result.passed for result in results),
        "probes": [
            {
                "name": row.name,
                "passed": row.passed,
                "of": row.of,
                "seconds": _data(row.seconds),
                "uptime": _data(row.uptime),
            }
            for row in rows(results)
        ],
        "boots": [to_json(result) for result in results],
    }


def _data(spread: Spread | None) -> dict[str, float] | None:
    if spread is None:
        return None
    return {
        "least": round(spread.least, 3),
        "median": round(spread.median, 3),
        "most": round(spread.most, 3),
    }
