"""The `minbuild` program: entry point, errors and exit codes."""

import atexit
import contextlib
import errno
import gc
import os
import sys
import traceback

import click

from minbuild import __version__
from minbuild.cli.commands import HELP_NAMES, CommandGroup, add_common_options
from minbuild.cli.console import (
    COMPLETION_VARIABLE,
    end_progress,
    open_streams,
    print_error,
    print_usage_error,
    start_output,
)
from minbuild.errors import MinbuildError, ToolError

EXIT_BUG = 70
GARBAGE_THRESHOLD = 100_000
"""Objects that are made before Python looks for cycles among them."""
EXIT_INTERRUPTED = 130
WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EBADF)


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": list(HELP_NAMES), "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 check failed, 2 usage, 3 manifest, 4 archive, 5 resolve, "
    "6 a tool or this machine, 70 a bug, 130 interrupted.",
)
@click.version_option(__version__, prog_name="minbuild")
@click.pass_context
def minbuild(context: click.Context) -> None:
    """Build the smallest Linux host that boots and runs virtual machines, from a short manifest.

    Start with `minbuild make host.yaml`, then `minbuild boot host.yaml`.
    """
    from minbuild.config import find_config_file, load_config  # not for the help of the program

    file = find_config_file()
    if not file.exists():
        return
    from minbuild.cli.option_defaults import apply_config  # few users have a config file

    try:
        apply_config(context, load_config(file))
    except MinbuildError:
        if context.invoked_subcommand != "doctor":  # which says so itself, and looks further
            raise


add_common_options(minbuild)


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with the code that says how it ended.

    Leaves without taking Python's memory apart object by object, which takes as long as a small
    command; what is to be done at an exit is done.
    """
    collect_seldom()
    open_streams()
    code = run_command_line(argv)
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    atexit._run_exitfuncs()
    os._exit(code)


def collect_seldom() -> None:
    """Look for cycles of unused objects seldom.

    What a command makes stays until it ends. Looking through it after each 700 objects takes time
    that grows faster than the work: more than half of a report of 100,000 files.
    """
    gc.set_threshold(GARBAGE_THRESHOLD)


def run_command_line(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        start_output(os.environ)
        if instruction := os.environ.get(COMPLETION_VARIABLE):
            from minbuild.cli.completion import answer_shell  # only while a shell completes

            return answer_shell(minbuild, instruction)
        # not Group.main, which ends a pipe's reader that goes away with exit code 1
        arguments = sys.argv[1:] if argv is None else list(argv)
        with minbuild.make_context("minbuild", arguments) as context:
            try:
                code: object = minbuild.invoke(context)
            finally:
                end_progress()
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except MinbuildError as error:
        print_error(error)
        return error.exit_code
    except click.ClickException as error:
        print_usage_error(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt, EOFError):
        click.echo("\ninterrupted: nothing half-written is left", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  a bug: say so, with the traceback, in one place
        return _report_crash(error)
    return code if isinstance(code, int) else 0


def _report_crash(error: Exception) -> int:
    """Report a bug, or an output that cannot be written; returns the exit code."""
    if isinstance(error, OSError) and error.filename is None and error.errno in WRITE_ERRORS:
        failure = ToolError(
            f"cannot write the output: {error.strerror}",
            where="stdout",
            fix="free space where it goes, or send it elsewhere",
        )
        print_error(failure)
        return failure.exit_code
    traceback.print_exception(error)
    click.echo("this is a bug in minbuild: please report it with the lines above", err=True)
    return EXIT_BUG
