"""How progress, errors and results look on a terminal."""

import os
import shutil
import sys
import threading
import time

import click

from minbuild.errors import MinbuildError


class Terminal:
    """Progress on stderr: one line that is rewritten on a terminal, notes alone elsewhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = False
        self._last = 0.0
        self._step = ""

    def step(self, text: str) -> None:
        """Show the step that begins."""
        with self._lock:
            self._step = text
            self._line(text)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        with self._lock:
            self._clear()
            click.echo(f"{click.style('note:', fg='cyan')} {plain(text)}", err=True, color=colour())
            if self._step:
                self._line(self._step)

    def bar(self, label: str, done: int, total: int) -> None:
        """Show how far a step has come, ten times a second at most."""
        now = time.monotonic()
        with self._lock:
            if now - self._last < 0.1 and done < total:
                return
            self._last = now
            self._line(_bar(label, done, total))

    def done(self) -> None:
        """Take the live line away."""
        with self._lock:
            self._step = ""
            self._clear()

    def _line(self, text: str) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{plain(text)[:width]}")
            sys.stderr.flush()
            self._shown = True

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


def _bar(label: str, done: int, total: int) -> str:
    if not total:
        return f"{label}  {done}"
    filled = min(24, 24 * done // total)
    amount = f"{done / 1e6:.1f}/{total / 1e6:.1f} MB" if total > 10_000 else f"{done}/{total}"
    return f"{label}  {'━' * filled}{'╌' * (24 - filled)}  {amount}"


def colour() -> bool | None:
    """False where NO_COLOR is set (no-color.org); None lets click look at the stream."""
    return False if os.environ.get("NO_COLOR") else None


def width() -> int:
    """Columns of the terminal that stdout is; 0 where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def plain(text: str) -> str:
    """Text without anything that a terminal obeys: names come from packages, mirrors and files."""
    if text.isascii() and text.isprintable() and not {"\\", "#", ":"} & set(text):
        return text
    from minbuild.escape import lines  # what starts needs none of its tables

    return lines(text)


def complain(error: MinbuildError) -> None:
    """Print an error and those found with it on stderr: what, where, fix."""
    for one in (error, *error.others):
        click.echo(
            f"{click.style('error:', fg='red', bold=True)} {plain(one.what)}",
            err=True,
            color=colour(),
        )
        if one.where:
            click.echo(f"  where: {plain(one.where)}", err=True)
        if one.fix:
            click.echo(f"  fix:   {plain(one.fix)}", err=True)
