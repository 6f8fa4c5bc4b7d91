"""Standard streams, how much is shown, colour and errors."""

import contextlib
import errno
import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

import click

from minbuild.errors import MinbuildError, UsageError, find_close_name

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


QUIET, NORMAL, STEPS, DETAILS = -1, 0, 1, 2
"""How much is told on stderr: errors; notes and the step that runs; every step; what it starts."""
LEVELS = {"quiet": QUIET, "normal": NORMAL, "verbose": STEPS, "debug": DETAILS}
"""Words of `MINBUILD_LOG` and of `log` in the config file."""
LOG_VARIABLE = "MINBUILD_LOG"
COLOURS = ("auto", "always", "never")
COLOUR_VARIABLE = "MINBUILD_COLOR"


@dataclass(slots=True)
class OutputSettings:
    """How results, progress and errors of this run are shown: `-v`, `-q`, `--color`."""

    verbosity: int = NORMAL
    colour: str = "auto"
    """auto, always or never."""
    log: str = ""
    """File that gets every step and detail, too; "" for none."""
    given: set[str] = field(default_factory=set)
    """`verbosity` or `colour`, where an option said it."""
    log_origin: str = "MINBUILD_LOG"
    """What names that file: the environment variable, or a key of the config file."""


OUTPUT = OutputSettings()


def start_output(environment: Mapping[str, str]) -> None:
    """Set `OUTPUT` to what the environment asks for: MINBUILD_LOG is a level, or a file.

    Raises: UsageError for a word that is neither.
    """
    OUTPUT.verbosity, OUTPUT.log = NORMAL, ""
    OUTPUT.given.clear()
    OUTPUT.colour = environment.get(COLOUR_VARIABLE) or "auto"
    if OUTPUT.colour not in COLOURS:
        raise UsageError(
            f"{OUTPUT.colour} is none of {', '.join(COLOURS)}",
            where=COLOUR_VARIABLE,
            fix="write one of them",
        )
    set_log(environment.get(LOG_VARIABLE, ""), LOG_VARIABLE)


def set_log(word: str, origin: str) -> None:
    """Set how much is told by the name of a level, or the file that gets all of it.

    `origin`: what has the word. Raises: UsageError for a word that is neither.
    """
    OUTPUT.log_origin = origin
    if word in LEVELS:
        OUTPUT.verbosity = LEVELS[word]
    elif "/" in word or "." in word:
        OUTPUT.log = word
    elif word:
        raise UsageError(
            f"{word} is neither a level nor a file",
            where=origin,
            fix=f"write one of {', '.join(LEVELS)}, or a file: ./minbuild.log",
        )


def apply_config_output(log: str, colour: str, file: str) -> None:
    """Take what a config file says of messages and colours, unless an option said otherwise.

    `log`, `colour`: "" where it says nothing. Raises: UsageError for a log that is none.
    """
    verbosity = OUTPUT.verbosity
    if log:
        set_log(log, f"log in {file}")
    if "verbosity" in OUTPUT.given:
        OUTPUT.verbosity = verbosity
    if colour and "colour" not in OUTPUT.given:
        OUTPUT.colour = colour


def _set_verbosity(_context: click.Context, _option: click.Parameter, value: int) -> None:
    if value:
        OUTPUT.given.add("verbosity")
        OUTPUT.verbosity = min(DETAILS, max(OUTPUT.verbosity, NORMAL) + value)


def _set_quiet(_context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        OUTPUT.given.add("verbosity")
        OUTPUT.verbosity = QUIET


def _set_colour(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
    if value:
        OUTPUT.given.add("colour")
        OUTPUT.colour = value


LIVE_PROGRESS: list[Callable[[], None]] = []
"""Of each Terminal that shows progress: what removes its line, and ends it."""


def end_progress() -> None:
    """End all progress: nothing is written over an error or a result any more."""
    while LIVE_PROGRESS:
        LIVE_PROGRESS.pop()()


def list_output_options() -> list[click.Option]:
    """Make the options that every command has: `--verbose`, `--quiet`, `--color`."""
    return [
        click.Option(["-v", "--verbose"], count=True, expose_value=False, callback=_set_verbosity,
                     help="Tell every step on stderr; -vv: each program and address, too."),
        click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=_set_quiet,
                     help="Tell errors only: neither progress nor notes."),
        click.Option(["--color", "--colour"], type=click.Choice(COLOURS),
                     expose_value=False, callback=_set_colour,
                     help="Colours; auto: on a terminal, unless NO_COLOR is set."),
    ]  # fmt: skip


def print_note(text: str) -> None:
    """Print a note on stderr, which -q leaves out."""
    if OUTPUT.verbosity > QUIET:
        mark = click.style("note:", fg="cyan")
        click.echo(f"{mark} {escape_for_terminal(text)}", err=True, color=get_colour())


def print_message(text: str, *, err: bool = True) -> None:
    """Print a sentence for people (what was written, what to do next), which -q leaves out.

    `err`: on stderr; False for what is all that a command says of its work.
    """
    if OUTPUT.verbosity > QUIET:
        click.echo(escape_for_terminal(text), err=err)


def get_colour() -> bool | None:
    """Whether colours are wanted; None lets click look at the stream. Source: no-color.org."""
    if OUTPUT.colour != "auto":
        return OUTPUT.colour == "always"
    return False if os.environ.get("NO_COLOR") else None


_VERDICT = re.compile(
    r"^((?:budget [^\n]*%  |[\w-]+ {2,})?)(ok|PASS|OVER|FAIL|FAILED)(?=[ :\n]|$)", re.MULTILINE
)
"""The verdict of a line: at its start, behind the name of a probe or part, or of a budget."""
_GOOD = {"ok", "PASS"}


def print_text(text: str) -> None:
    """Print a page on stdout; where colours are wanted its verdicts have them."""
    colour = get_colour()
    if colour or (colour is None and sys.stdout.isatty()):
        text = _VERDICT.sub(_paint_verdict, text)
    click.echo(text, nl=False, color=colour)


def _paint_verdict(match: re.Match[str]) -> str:
    return match[1] + click.style(match[2], fg="green" if match[2] in _GOOD else "red")


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


def print_usage_error(error: click.ClickException) -> None:
    """Print click's error about the command line as ours are printed."""
    message = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "minbuild"
    fix = f"see {path} --help"
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        near = find_close_name(error.option_name, error.possibilities)
        message = f"No such option: {error.option_name}"
        fix = f"did you mean {near or min(error.possibilities)}?"
    print_error(UsageError(message[:1].lower() + message[1:], where=path, fix=fix))
