"""Repeated boots: the spread of each probe's times, as a table and as JSON."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from minbuild.escape import escape_line
from minbuild.lab.boot import boot_image
from minbuild.lab.boot_results import (
    compute_bar_width,
    draw_time_bar,
    format_summary,
    result_to_json,
)
from minbuild.lab.model import BootRequest, BootResult, ProbeOutcome, ProbeState, Tools
from minbuild.progress import Progress

BOOTS_SCHEMA = "minbuild.boots/1"


@dataclass(frozen=True, slots=True)
class TimeSpread:
    """Least, median and greatest time of one probe, over the boots in which it was seen."""

    least: float
    median: float
    most: float


@dataclass(frozen=True, slots=True)
class ProbeStatistics:
    """The results of one probe over all boots."""

    name: str
    passed: int
    attempts: int
    """Boots in which it was not skipped."""
    seconds: TimeSpread | None
    """Wall time since power-on; None when it was never seen."""
    uptime: TimeSpread | None
    """The host's own clock."""


def boot_repeatedly(
    request: BootRequest, tools: Tools, progress: Progress, count: int
) -> tuple[BootResult, ...]:
    """Boot `count` times, one after the other, even when probes fail.

    Logs and kept files of several boots are numbered: FILE.1, DIR/1.
    Raises: as `boot_image`.
    """
    if count == 1:
        return (boot_image(request, tools, progress),)
    results = []
    for number in range(1, count + 1):
        log, keep = request.log, request.keep
        numbered_request = replace(
            request,
            log=log and log.with_name(f"{log.name}.{number}"),
            keep=keep and keep / str(number),
        )
        progress.note(f"boot {number} of {count}")
        results.append(boot_image(numbered_request, tools, progress))
    return tuple(results)


def compute_statistics(results: Sequence[BootResult]) -> tuple[ProbeStatistics, ...]:
    """Compute the statistics of each probe, in the order of the request."""
    return tuple(
        _summarise_probe([result.outcomes[number] for result in results])
        for number in range(len(results[0].outcomes))
    )


def _summarise_probe(outcomes: Sequence[ProbeOutcome]) -> ProbeStatistics:
    passed = [one for one in outcomes if one.state is ProbeState.PASSED]
    attempts = [one for one in outcomes if one.state is not ProbeState.SKIPPED]
    return ProbeStatistics(
        outcomes[0].name,
        len(passed),
        len(attempts),
        _compute_spread(passed, lambda one: one.seconds),
        _compute_spread(passed, lambda one: one.uptime),
    )


def _compute_spread(
    outcomes: Sequence[ProbeOutcome], time: Callable[[ProbeOutcome], float | None]
) -> TimeSpread | None:
    times = [value for one in outcomes if (value := time(one)) is not None]
    return TimeSpread(min(times), median(times), max(times)) if times else None


def format_statistics_table(results: Sequence[BootResult], width: int = 0) -> tuple[str, ...]:
    """Format a line for each probe: how often it passed, its times, a bar for the median.

    `width` is that of the terminal (0: no limit).
    """
    statistics = [replace(row, name=escape_line(row.name)) for row in compute_statistics(results)]
    name_width = max(5, *(len(row.name) for row in statistics)) if statistics else 5
    longest = max((row.seconds.median for row in statistics if row.seconds), default=0.0)
    header = f"{'probe':<{name_width}}  {'met':>7}  {'least':>7} {'median':>7} {'most':>7}  {'uptime':>6}"
    columns = compute_bar_width(width, len(header) + 2)
    lines = [_format_statistics(row, name_width, longest, columns) for row in statistics]
    return (header, *lines, "", f"boots        {len(results)}", *format_summary(results[-1], width))


def _format_statistics(row: ProbeStatistics, name_width: int, longest: float, columns: int) -> str:
    start = f"{row.name:<{name_width}}  {f'{row.passed} of {row.attempts}':>7}"
    if row.seconds is None:
        return start if row.attempts else f"{row.name:<{name_width}}  skipped"
    spread = row.seconds
    uptime = f"{row.uptime.median:.2f}" if row.uptime else ""
    bar_text = draw_time_bar(spread.median, longest, columns)
    return f"{start}  {spread.least:>7.2f} {spread.median:>7.2f} {spread.most:>7.2f}  {uptime:>6}  {bar_text}"


def statistics_to_json(results: Sequence[BootResult]) -> dict[str, object]:
    """Convert the results to JSON: schema `minbuild.boots/1`, times in seconds."""
    return {
        "schema": BOOTS_SCHEMA,
        "passed": all(result.passed for result in results),
        "probes": [
            {
                "name": row.name,
                "passed": row.passed,
                "of": row.attempts,
                "seconds": _spread_to_json(row.seconds),
                "uptime": _spread_to_json(row.uptime),
            }
            for row in compute_statistics(results)
        ],
        "boots": [result_to_json(result) for result in results],
    }


def _spread_to_json(spread: TimeSpread | None) -> dict[str, float] | None:
    if spread is None:
        return None
    return {
        "least": round(spread.least, 3),
        "median": round(spread.median, 3),
        "most": round(spread.most, 3),
    }
