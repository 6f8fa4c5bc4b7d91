"""Result of one boot or of repeated ones: a table with bars, JSON, JUnit XML and an error."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from textwrap import wrap
from xml.etree import ElementTree as ET

from minbuild.errors import CheckFailed, ToolError
from minbuild.escape import escape_line
from minbuild.lab.boot import boot_image
from minbuild.lab.model import BootRequest, BootResult, LineSource, ProbeOutcome, ProbeState, Tools
from minbuild.lab.probes import NOT_SEEN_PREFIX
from minbuild.progress import Progress

JUNIT_CONSOLE_LINES = 200
"""Console lines in a test suite, the last ones."""
XML_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML does not allow. Source: XML 1.0, 2.2."""


def write_boot_junit(path: Path, results: Sequence[BootResult]) -> None:
    """Write a suite for each boot, a case for each probe.

    Raises: ToolError when the file cannot be written.
    """
    try:
        path.write_bytes(render_boot_junit(results))
    except OSError as error:
        raise ToolError(
            f"cannot write the JUnit document: {error.strerror}",
            where=str(path),
            fix="name a file in a writable directory",
        ) from error


def render_boot_junit(results: Sequence[BootResult]) -> bytes:
    """Render a suite for each boot, a case for each probe."""
    root = ET.Element("testsuites")
    for number, result in enumerate(results, 1):
        root.append(_build_suite(result, f"{result.image} boot {number}"))
    ET.indent(root, " ")
    data: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _build_suite(result: BootResult, name: str) -> ET.Element:
    counts = {state: sum(one.state is state for one in result.outcomes) for state in ProbeState}
    suite = ET.Element(
        "testsuite",
        name=_replace_forbidden(name),
        tests=str(len(result.outcomes)),
        failures=str(counts[ProbeState.FAILED]),
        errors="0",
        skipped=str(counts[ProbeState.SKIPPED]),
        time=f"{result.seconds:.3f}",
    )
    suite.extend(_build_case(one, name) for one in result.outcomes)
    console = [line.text for line in result.lines if line.source is LineSource.CONSOLE]
    ET.SubElement(suite, "system-out").text = _replace_forbidden(
        "\n".join(console[-JUNIT_CONSOLE_LINES:])
    )
    return suite


def _build_case(outcome: ProbeOutcome, suite: str) -> ET.Element:
    case = ET.Element(
        "testcase",
        classname=_replace_forbidden(suite),
        name=_replace_forbidden(outcome.name),
        time=f"{outcome.seconds or 0:.3f}",
    )
    if outcome.state is ProbeState.FAILED:
        ET.SubElement(
            case, "failure", message=_replace_forbidden(outcome.means)
        ).text = _replace_forbidden(outcome.detail)
    elif outcome.state is ProbeState.SKIPPED:
        ET.SubElement(case, "skipped", message=_replace_forbidden(outcome.detail))
    return case


def _replace_forbidden(text: str) -> str:
    return XML_FORBIDDEN.sub("?", text)


BOOT_SCHEMA = "minbuild.boot/1"
BAR_WIDTH, SHORT_BAR_WIDTH = 30, 12
"""Columns of the longest bar, and in a terminal without room for it."""
EIGHTHS = " ▏▎▍▌▋▊▉█"
CONSOLE_TAIL = 15
"""Console lines in the error of a failed probe, the last ones."""
STATE_MARKS = {ProbeState.PASSED: "ok", ProbeState.FAILED: "FAILED", ProbeState.SKIPPED: "skipped"}


def format_result_table(result: BootResult, width: int = 0) -> tuple[str, ...]:
    """Format a line for each probe: state, seconds since power-on, the host's clock, a bar.

    `width` is that of the terminal (0: no limit), to which bars and details are cut.
    """
    result = replace(result, outcomes=tuple(map(_escape_outcome, result.outcomes)))
    name_width = max((len(outcome.name) for outcome in result.outcomes), default=5)
    name_width = max(name_width, len("probe"))
    longest = max((outcome.seconds or 0 for outcome in result.outcomes), default=0)
    header = f"{'probe':<{name_width}}  {'':<7}  {'seconds':>7}  {'uptime':>6}"
    detail = max((len(one.detail) for one in result.outcomes if one.seconds is not None), default=0)
    columns = compute_bar_width(width, len(header) + 2, detail + 2)
    rows = [_format_outcome(outcome, name_width, longest, columns) for outcome in result.outcomes]
    return (
        header.rstrip(),
        *(truncate_line(row, width) for row in rows),
        "",
        *format_summary(result, width),
    )


def _escape_outcome(outcome: ProbeOutcome) -> ProbeOutcome:
    """Escape control characters: names come with the image, details from its console."""
    return replace(outcome, name=escape_line(outcome.name), detail=escape_line(outcome.detail))


def compute_bar_width(width: int, left_columns: int, right_columns: int = 0) -> int:
    """Compute the columns for bars, between other columns, in a terminal of `width` (0: no limit)."""
    return (
        min(BAR_WIDTH, max(SHORT_BAR_WIDTH, width - left_columns - right_columns))
        if width
        else BAR_WIDTH
    )


def truncate_line(text: str, width: int) -> str:
    """Cut a line to the width of a terminal (0: no limit)."""
    return f"{text[: width - 1]}…" if 0 < width < len(text) else text


def _format_outcome(outcome: ProbeOutcome, name_width: int, longest: float, columns: int) -> str:
    start = f"{outcome.name:<{name_width}}  {STATE_MARKS[outcome.state]:<7}"
    if outcome.seconds is None:
        return f"{start}  {outcome.detail}"
    uptime = "" if outcome.uptime is None else f"{outcome.uptime:.2f}"
    bar_text = f"{draw_time_bar(outcome.seconds, longest, columns):<{columns}}"
    return f"{start}  {outcome.seconds:>7.2f}  {uptime:>6}  {bar_text}  {outcome.detail}".rstrip()


def draw_time_bar(value: float, longest: float, columns: int = BAR_WIDTH) -> str:
    """Draw a bar for `value`, so that the one for `longest` has `columns` columns."""
    eighths = round(value / longest * columns * 8) if longest > 0 else 0
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def format_summary(result: BootResult, width: int = 0) -> Iterable[str]:
    """Format accelerator, network, machine and end of a boot, in lines of at most `width`."""
    for line in map(escape_line, _iter_summary_lines(result)):
        yield from wrap(line, width, subsequent_indent=" " * 13) if width else (line,)


def _iter_summary_lines(result: BootResult) -> Iterable[str]:
    yield f"accelerator  {result.accel.name} ({result.accel.reason})"
    yield f"network      {result.network.name} ({result.network.reason})"
    memory_used = (
        "" if result.memory_used is None else f", {result.memory_used} MiB in use beside files"
    )
    yield f"machine      {result.firmware}, {result.cpus} CPUs, {result.memory} MiB{memory_used}"
    if result.tries > 1:
        yield f"tries        {result.tries}: {result.retry_reason}"
    yield f"ended        {result.end_reason}, after {result.seconds:.1f} s"


def make_boot_error(result: BootResult) -> CheckFailed | None:
    """Make the error of a boot with failed probes; None when there are none."""
    failures = [outcome for outcome in result.outcomes if outcome.state is ProbeState.FAILED]
    if not failures:
        return None
    console = [line.text for line in result.lines if line.source is LineSource.CONSOLE]
    last_lines = [text for text in console if text][-CONSOLE_TAIL:]
    message = [f"{len(failures)} of {len(result.outcomes)} probes failed: {result.end_reason}"]
    message += [
        f"    {outcome.name}: {outcome.means}{_quote_host_reason(outcome)}" for outcome in failures
    ]
    message += ["the console's last lines:", *(f"    {text}" for text in last_lines or ["nothing"])]
    return CheckFailed(
        "\n".join(message),
        where=result.image,
        fix="write the whole console with --log FILE, or use the host with --interactive",
    )


def _quote_host_reason(outcome: ProbeOutcome) -> str:
    """Quote the host's own line of a failed probe; "" when it printed none."""
    return "" if outcome.detail.startswith(NOT_SEEN_PREFIX) else f" ({outcome.detail})"


def result_to_json(result: BootResult) -> dict[str, object]:
    """Convert a result to JSON: schema `minbuild.boot/1`, times in seconds."""
    return {
        "schema": BOOT_SCHEMA,
        "image": result.image,
        "passed": result.passed,
        "ended": result.end_reason,
        "accel": {"name": result.accel.name, "why": result.accel.reason},
        "network": {"name": result.network.name, "why": result.network.reason},
        "firmware": result.firmware.value,
        "memory": result.memory,
        "memory_used": result.memory_used,
        "cpus": result.cpus,
        "tries": result.tries,
        "retried": result.retry_reason,
        "seconds": round(result.seconds, 3),
        "probes": [
            {
                "name": outcome.name,
                "state": outcome.state.value,
                "seconds": outcome.seconds,
                "uptime": outcome.uptime,
                "detail": outcome.detail,
                "means": outcome.means,
            }
            for outcome in result.outcomes
        ],
    }


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
                "seconds": _encode_spread(row.seconds),
                "uptime": _encode_spread(row.uptime),
            }
            for row in compute_statistics(results)
        ],
        "boots": [result_to_json(result) for result in results],
    }


def _encode_spread(spread: TimeSpread | None) -> dict[str, float] | None:
    if spread is None:
        return None
    return {
        "least": round(spread.least, 3),
        "median": round(spread.median, 3),
        "most": round(spread.most, 3),
    }
