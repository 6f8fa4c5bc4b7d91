"""Terminal: standard streams, progress, colour and errors."""

import contextlib
import errno
import io
import os
import shutil
import sys
import threading
import time
from collections.abc import Container
from typing import TYPE_CHECKING, TextIO

import click

from minbuild.errors import MinbuildError

if TYPE_CHECKING:
    from typing_extensions import Buffer

COMPLETION_VARIABLE = "_MINBUILD_COMPLETE"
"""Environment variable by which a shell asks what to complete."""


STDOUT_FD, STDERR_FD = 1, 2


class _ForgivingOutput(io.RawIOBase):
    """A descriptor that drops output when its reader is gone."""

    def __init__(self, descriptor: int, ignored_errors: Container[int] | None) -> None:
        """`ignored_errors`: error numbers that are ignored; None for all."""
        self._descriptor, self._ignored_errors = descriptor, ignored_errors
        self._has_no_reader = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: "Buffer", /) -> int:
        view = memoryview(data)
        if self._has_no_reader:
            return view.nbytes
        try:
            return os.write(self._descriptor, view)
        except OSError as error:
            if self._ignored_errors is not None and error.errno not in self._ignored_errors:
                raise
            self._has_no_reader = True
            return view.nbytes


def open_streams() -> None:
    """Open closed standard streams, and make stdout and stderr ignore a reader that went away."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # the lowest number that is free: this one
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = _open_text(STDOUT_FD, sys.stdout, {errno.EPIPE})
    sys.stderr = _open_text(STDERR_FD, sys.stderr, None)


def _open_text(
    descriptor: int, before: TextIO | None, ignored_errors: Container[int] | None
) -> TextIO:
    """The stream of a descriptor, in the encoding that Python chose."""
    if before is not None:
        with contextlib.suppress(OSError):
            before.flush()
    raw = _ForgivingOutput(descriptor, ignored_errors)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else "utf-8",
        errors=before.errors if before is not None else "backslashreplace",
        line_buffering=descriptor == STDERR_FD or raw.isatty(),
    )


class Terminal:
    """Progress on stderr: one line that is rewritten on a terminal, notes alone elsewhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = False
        self._last = 0.0
        self._step = ""

    def step(self, text: str) -> None:
        """Show the step that begins."""
        with self._lock:
            self._step = text
            self._write_line(text)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        with self._lock:
            self._clear()
            click.echo(
                f"{click.style('note:', fg='cyan')} {escape_for_terminal(text)}",
                err=True,
                color=get_colour(),
            )
            if self._step:
                self._write_line(self._step)

    def bar(self, label: str, done: int, total: int) -> None:
        """Show how far a step has come, ten times a second at most."""
        now = time.monotonic()
        with self._lock:
            if now - self._last < 0.1 and done < total:
                return
            self._last = now
            self._write_line(_format_bar(label, done, total))

    def finish(self) -> None:
        """Remove the live line."""
        with self._lock:
            self._step = ""
            self._clear()

    def _write_line(self, text: str) -> None:
        if self._is_live:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{escape_for_terminal(text)[:width]}")
            sys.stderr.flush()
            self._shown = True

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


def _format_bar(label: str, done: int, total: int) -> str:
    if not total:
        return f"{label}  {done}"
    filled = min(24, 24 * done // total)
    amount = f"{done / 1e6:.1f}/{total / 1e6:.1f} MB" if total > 10_000 else f"{done}/{total}"
    return f"{label}  {'━' * filled}{'╌' * (24 - filled)}  {amount}"


def get_colour() -> bool | None:
    """False where NO_COLOR is set (no-color.org); None lets click look at the stream."""
    return False if os.environ.get("NO_COLOR") else None


def get_terminal_width() -> int:
    """Columns of the terminal that stdout is; 0 where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def escape_for_terminal(text: str) -> str:
    """Text without anything that a terminal obeys: names come from packages, mirrors and files."""
    if text.isascii() and text.isprintable() and not {"\\", "#", ":"} & set(text):
        return text
    from minbuild.escape import escape_lines  # rarely needed, and its tables are slow

    return escape_lines(text)


def print_error(error: MinbuildError) -> None:
    """Print an error and those found with it on stderr: what, where, fix."""
    for failure in (error, *error.also):
        click.echo(
            f"{click.style('error:', fg='red', bold=True)} {escape_for_terminal(failure.what)}",
            err=True,
            color=get_colour(),
        )
        if failure.where:
            click.echo(f"  where: {escape_for_terminal(failure.where)}", err=True)
        if failure.fix:
            click.echo(f"  fix:   {escape_for_terminal(failure.fix)}", err=True)
