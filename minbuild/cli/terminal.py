"""Progress of long work on stderr: what is done, how far it is, and for how long.

On a terminal one line is rewritten; elsewhere a step that lasts is told every ten seconds. How much
is shown is `console.OUTPUT.verbosity`.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from minbuild.cli.console import (
    DETAILS,
    LIVE_PROGRESS,
    OUTPUT,
    QUIET,
    STEPS,
    escape_for_terminal,
    print_note,
)
from minbuild.errors import UsageError
from minbuild.parallel import Ticker
from minbuild.progress import set_detail_sink

TICK = 0.2
"""Seconds between two looks at the clock."""
MIN_REDRAW = 0.1
"""Seconds between two drawings of a bar."""
SHOWN_AFTER = 1.0
"""Seconds after which a line tells for how long its step lasts."""
TOLD_EVERY = 10.0
"""Seconds between two lines of one step where stderr is no terminal."""
BAR_CELLS = 16


@dataclass(frozen=True, slots=True)
class StepState:
    """What is known of the step that runs."""

    text: str
    """`packing host`; "" between steps."""
    began: float
    """Monotonic seconds."""
    label: str = ""
    done: int = 0
    total: int = 0
    last_line: str = ""
    """What a program of the step said last: a line of a console."""


class Terminal:
    """Shows progress on stderr; safe to call from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds. Raises: UsageError when the log file cannot be written."""
        self._lock = threading.RLock()
        self._clock = clock
        self._began = clock()
        self._is_live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._state = StepState("", self._began)
        self._is_line_shown = False
        self._drawn_at = 0.0
        self._told_at = self._began
        self._ticker = Ticker(self.tick, TICK)
        self._log = _LogFile(OUTPUT.log)
        LIVE_PROGRESS.append(self.finish)
        if OUTPUT.verbosity >= DETAILS or OUTPUT.log:
            set_detail_sink(self._write_detail)

    def step(self, text: str) -> None:
        """Show the step that begins."""
        with self._lock:
            self._state = StepState(text, self._clock())
            self._told_at = self._state.began
            self._write_record(text, least=STEPS)
            self._draw()
        self._start_ticker()

    def note(self, text: str) -> None:
        """Print a line that stays."""
        with self._lock:
            self._log.write(f"{self._format_clock()}  note: {text}\n")
            self._clear()
            print_note(text)
            self._draw()

    def bar(self, label: str, done: int, total: int) -> None:
        """Show how far a step has come, ten times a second at most."""
        now = self._clock()
        with self._lock:
            if not (self._state.text or self._state.label):
                self._state = StepState("", now)
                self._told_at = now
            self._state = replace(self._state, label=label, done=done, total=total)
            if now - self._drawn_at >= MIN_REDRAW or done >= total:
                self._draw()
        self._start_ticker()

    def show_line(self, text: str) -> None:
        """Show what a program of this step said last, and record it."""
        with self._lock:
            self._state = replace(self._state, last_line=text)
            self._write_record(f"  | {text}", least=DETAILS)

    def finish(self) -> None:
        """Remove the live line."""
        self._ticker.stop()
        with self._lock:
            self._state = StepState("", self._clock())
            self._clear()

    def _write_record(self, text: str, *, least: int) -> None:
        """Write a line with the seconds since the start where so much is to be told."""
        line = f"{self._format_clock()}  {escape_for_terminal(text)}\n"
        self._log.write(line)
        if OUTPUT.verbosity >= least:
            self._clear()
            sys.stderr.write(line)

    def _write_detail(self, text: str) -> None:
        with self._lock:
            self._write_record(f"  {text}", least=DETAILS)

    def _format_clock(self) -> str:
        return f"{self._clock() - self._began:7.2f} s"

    def _draw(self) -> None:
        """Rewrite the live line, on a terminal and during a step."""
        if self._is_live and OUTPUT.verbosity > QUIET and (self._state.text or self._state.label):
            self._drawn_at = self._clock()
            columns = shutil.get_terminal_size().columns - 1
            line = format_step(self._state, self._drawn_at, columns)
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
            self._is_line_shown = True

    def _clear(self) -> None:
        if self._is_line_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._is_line_shown = False

    def _start_ticker(self) -> None:
        if OUTPUT.verbosity > QUIET:
            self._ticker.start()

    def tick(self) -> None:
        """Show that time has passed: the live line anew, or elsewhere a line every ten seconds."""
        with self._lock:
            now = self._clock()
            if self._is_live:
                self._draw()
            elif now - self._told_at >= TOLD_EVERY and (self._state.text or self._state.label):
                self._told_at = now
                sys.stderr.write(f"{format_step(self._state, now, 0)}\n")
                sys.stderr.flush()


class _LogFile:
    """The file that MINBUILD_LOG names; lines are added at its end."""

    def __init__(self, name: str) -> None:
        """`name`: "" for no file. Raises: UsageError when it cannot be written."""
        self._name = name
        try:
            self.write("")
        except OSError as error:
            raise UsageError(
                f"cannot write the log: {error.strerror}",
                where=f"{OUTPUT.log_origin}: {name}",
                fix="name a file that you may write to",
            ) from error

    def write(self, text: str) -> None:
        if self._name:
            with Path(self._name).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)


def format_step(state: StepState, now: float, columns: int) -> str:
    """One line: what is done, how far it is, for how long, and what a program said last.

    `columns`: its longest length; 0 for no limit, and without a bar.
    """
    seconds = now - state.began
    parts = [state.text or state.label]
    if state.label:
        amount = format_amount(state.done, state.total)
        named = (
            amount
            if set(state.label.split()) <= set(parts[0].split())
            else f"{state.label} {amount}"
        )
        parts += [f"{format_progress_bar(state.done, state.total)} {named}" if columns else named]
    if seconds >= SHOWN_AFTER:
        parts.append(f"{seconds:.0f} s")
    line = "  ".join(map(escape_for_terminal, parts))
    if state.last_line:
        line += f"  {escape_for_terminal(state.last_line.strip())}"
    return line[:columns] if columns else line


def format_amount(done: int, total: int) -> str:
    """`3/15`, or `12.1/17.4 MB` of bytes; without a total what is done."""
    if not total:
        return str(done)
    return f"{done / 1e6:.1f}/{total / 1e6:.1f} MB" if total > 10_000 else f"{done}/{total}"


def format_progress_bar(done: int, total: int) -> str:
    """Bar of `BAR_CELLS` cells, of ASCII where the terminal shows no others.

    Python writes UTF-8 under LC_ALL=C as well. Source: PEP 540.
    """
    full, empty = "━╌"
    is_ascii = os.environ.get("LC_ALL") in {"C", "POSIX"}
    try:
        f"{full}{empty}".encode(sys.stderr.encoding or "ascii")
    except UnicodeEncodeError:
        is_ascii = True
    if is_ascii:
        full, empty = "#-"
    filled = min(BAR_CELLS, BAR_CELLS * done // total) if total else 0
    return full * filled + empty * (BAR_CELLS - filled)
