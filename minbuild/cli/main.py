"""The `minbuild` command: its commands, and how every run of it ends."""

import atexit
import contextlib
import errno
import os
import sys
import traceback

import click

from minbuild import __version__
from minbuild.cli import boot, cache, completion, dib, explain, lock, make, scaffold, ship
from minbuild.cli.console import open_streams, print_error
from minbuild.errors import MinbuildError, ToolError

EXIT_BUG = 70
EXIT_INTERRUPTED = 130
WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EBADF)


COMMAND_GROUPS = {
    "Build": {
        "make": "build images of manifests, print the footprint",
        "plan": "resolve, and print what would be in the image",
        "lock": "pin the packages of a manifest, or take newer ones",
        "check": "judge an image by a budget",
        "attest": "say where a build came from, and sign its sums",
    },
    "Run": {
        "boot": "boot an image, wait until it proves that it works",
        "tool": "run a program of the toolbox",
    },
    "Explain": {
        "why": "the chain of needs that leads to a path",
        "report": "what an image or any root weighs",
        "diff": "what differs between two images, and why",
        "tree": "the closure with own, closure and added size",
        "check-tree": "prove that a root needs nothing outside of it",
        "history": "the footprints of past builds",
    },
    "Ship": {
        "sbom": "software bill of materials",
        "licences": "what receivers of the image are owed",
        "cve": "which open issues touch files in the image",
        "verify": "hold the parts of a build against each other",
    },
    "Write": {
        "init": "a commented manifest to start from",
        "components": "the pieces that ship",
        "schema": "JSON Schema of manifests, for editors",
        "guest": "guest.conf of a virtual machine",
        "hardware": "this machine's devices, for kernel.hardware",
    },
    "Roots and caches": {
        "elements": "where the elements for diskimage-builder are",
        "export": "a host's files as a tar",
        "trim": "trim an installed root to a manifest's needs",
        "store": "look after the cache",
        "completion": "completion for bash, zsh and fish",
    },
}
"""Every command once, in the order in which people meet them: heading → name → what it does."""


class CommandGroup(click.Group):
    """Lists commands under headings."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [name for rows in COMMAND_GROUPS.values() for name in rows]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for heading, rows in COMMAND_GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl(list(rows.items()), col_spacing=max(2, 12 - max(map(len, rows))))


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 the verdict is no, 2 usage, 3 manifest, 4 archive, 5 resolve, "
    "6 a tool or this machine, 70 a bug, 130 interrupted.",
)
@click.version_option(__version__, prog_name="minbuild")
def minbuild() -> None:
    """Build the smallest Linux host that boots and runs virtual machines, from a short manifest.

    Start with `minbuild make host.yaml`, then `minbuild boot host.yaml`.
    """


for command in (
    *make.COMMANDS,
    *lock.COMMANDS,
    *boot.COMMANDS,
    *explain.COMMANDS,
    *explain.ROOT_COMMANDS,
    *scaffold.COMMANDS,
    *scaffold.GUEST_COMMANDS,
    *dib.COMMANDS,
    *ship.ATTEST_COMMANDS,
    *cache.COMMANDS,
    *completion.COMMANDS,
):
    minbuild.add_command(command)


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with the code that says how it ended.

    Leaves without taking Python's memory apart object by object, which takes as long as a small
    command; what is to be done at an exit is done.
    """
    open_streams()
    code = run_command_line(argv)
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    atexit._run_exitfuncs()
    os._exit(code)


def run_command_line(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        completion_code = completion.answer_shell(minbuild)
        if completion_code is not None:
            return completion_code
        # not Group.main, which ends a pipe's reader that goes away with exit code 1
        arguments = sys.argv[1:] if argv is None else list(argv)
        with minbuild.make_context("minbuild", arguments) as context:
            code: object = minbuild.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except MinbuildError as error:
        print_error(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
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
