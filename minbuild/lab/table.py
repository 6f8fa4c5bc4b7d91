"""How the result of a boot is shown: a table with bars, and JSON."""

from collections.abc import Iterable
from dataclasses import replace
from textwrap import wrap

from minbuild.errors import Verdict
from minbuild.escape import printable
from minbuild.lab.probes import UNSEEN
from minbuild.lab.types import BootResult, Outcome, Source, State

SCHEMA = "minbuild.boot/1"
BAR, SHORT = 30, 12
"""Columns of the longest bar, and of one in a terminal that has no room for it."""
EIGHTHS = " ▏▎▍▌▋▊▉█"
LAST = 15
"""Console lines that are shown when a probe failed."""
MARK = {State.PASSED: "ok", State.FAILED: "FAILED", State.SKIPPED: "skipped"}


def table(result: BootResult, width: int = 0) -> tuple[str, ...]:
    """One line for each probe: state, seconds since power-on, the guest's own clock, a bar.

    In a terminal of `width` columns no line is longer (0: any may be): bars are shorter there, and
    what was seen is cut.
    """
    result = replace(result, outcomes=tuple(map(_shown, result.outcomes)))
    name = max((len(outcome.name) for outcome in result.outcomes), default=5)
    name = max(name, len("probe"))
    longest = max((outcome.seconds or 0 for outcome in result.outcomes), default=0)
    head = f"{'probe':<{name}}  {'':<7}  {'seconds':>7}  {'uptime':>6}"
    detail = max((len(one.detail) for one in result.outcomes if one.seconds is not None), default=0)
    columns = room(width, len(head) + 2, detail + 2)
    rows = [_row(outcome, name, longest, columns) for outcome in result.outcomes]
    return (head.rstrip(), *(cut(row, width) for row in rows), "", *summary(result, width))


def _shown(outcome: Outcome) -> Outcome:
    """An outcome whose words no terminal obeys: names come with the image, details from it."""
    return replace(outcome, name=printable(outcome.name), detail=printable(outcome.detail))


def room(width: int, before: int, after: int = 0) -> int:
    """Columns for bars between others' in a terminal; 0 is one without an end."""
    return min(BAR, max(SHORT, width - before - after)) if width else BAR


def cut(text: str, width: int) -> str:
    """A line that is no longer than a terminal; 0 is one without an end."""
    return f"{text[: width - 1]}…" if 0 < width < len(text) else text


def _row(outcome: Outcome, name: int, longest: float, columns: int) -> str:
    start = f"{outcome.name:<{name}}  {MARK[outcome.state]:<7}"
    if outcome.seconds is None:
        return f"{start}  {outcome.detail}"
    uptime = "" if outcome.uptime is None else f"{outcome.uptime:.2f}"
    drawn = f"{bar(outcome.seconds, longest, columns):<{columns}}"
    return f"{start}  {outcome.seconds:>7.2f}  {uptime:>6}  {drawn}  {outcome.detail}".rstrip()


def bar(value: float, longest: float, columns: int = BAR) -> str:
    """Draw `value` where `longest` has so many columns."""
    eighths = round(value / longest * columns * 8) if longest > 0 else 0
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def summary(result: BootResult, width: int = 0) -> Iterable[str]:
    """What it was booted on, and how it ended, in lines for a terminal of `width` columns."""
    for line in map(printable, _said(result)):
        yield from wrap(line, width, subsequent_indent=" " * 13) if width else (line,)


def _said(result: BootResult) -> Iterable[str]:
    yield f"accelerator  {result.accel.name} ({result.accel.why})"
    yield f"network      {result.network.name} ({result.network.why})"
    used = "" if result.memory_used is None else f", {result.memory_used} MiB in use beside files"
    yield f"machine      {result.firmware}, {result.cpus} CPUs, {result.memory} MiB{used}"
    if result.tries > 1:
        yield f"tries        {result.tries}: {result.retried}"
    yield f"ended        {result.ended}, after {result.seconds:.1f} s"


def verdict(result: BootResult) -> Verdict | None:
    """The error of a boot whose probes were not all met; None when they were."""
    failed = [outcome for outcome in result.outcomes if outcome.state is State.FAILED]
    if not failed:
        return None
    console = [line.text for line in result.lines if line.source is Source.CONSOLE]
    shown = [text for text in console if text][-LAST:]
    what = [f"{len(failed)} of {len(result.outcomes)} probes failed: {result.ended}"]
    what += [f"    {outcome.name}: {outcome.means}{_said_itself(outcome)}" for outcome in failed]
    what += ["the console's last lines:", *(f"    {text}" for text in shown or ["nothing"])]
    return Verdict(
        "\n".join(what),
        where=result.image,
        fix="look at the whole console with --log FILE, or at the host itself with --interactive",
    )


def _said_itself(outcome: Outcome) -> str:
    """What the host said of a probe that failed; "" where it said nothing, as the table tells."""
    return "" if outcome.detail.startswith(UNSEEN) else f" ({outcome.detail})"


def to_json(result: BootResult) -> dict[str, object]:
    """The result as data: schema `minbuild.boot/1`, times in seconds."""
    return {
        "schema": SCHEMA,
        "image": result.image,
        "passed": result.passed,
        "ended": result.ended,
        "accel": {"name": result.accel.name, "why": result.accel.why},
        "network": {"name": result.network.name, "why": result.network.why},
        "firmware": result.firmware.value,
        "memory": result.memory,
        "memory_used": result.memory_used,
        "cpus": result.cpus,
        "tries": result.tries,
        "retried": result.retried,
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
