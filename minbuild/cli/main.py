"""The `minbuild` command: its commands, and how every run of it ends."""

import os
import sys
import traceback

import click

from minbuild import __version__
from minbuild.cli import attest, boot, dib, guest, inspect, lock, make, new, prove, store
from minbuild.cli.terminal import complain
from minbuild.errors import MinbuildError

BUG = 70
INTERRUPTED = 130


class Minbuild(click.Group):
    """Lists commands in the order in which people meet them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)


@click.group(
    cls=Minbuild,
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
    *inspect.COMMANDS,
    *prove.COMMANDS,
    *new.COMMANDS,
    *guest.COMMANDS,
    *dib.COMMANDS,
    *attest.COMMANDS,
    *store.COMMANDS,
):
    minbuild.add_command(command)


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with the code that says how it ended."""
    sys.exit(run(argv))


def run(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        # not Group.main, which ends a pipe's reader that goes away with exit code 1
        words = sys.argv[1:] if argv is None else list(argv)
        with minbuild.make_context("minbuild", words) as context:
            code: object = minbuild.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except MinbuildError as error:
        complain(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt, EOFError):
        click.echo("\ninterrupted: nothing half-written is left", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001  a bug: say so, with the traceback, in one place
        traceback.print_exc()
        click.echo("this is a bug in minbuild: please report it with the lines above", err=True)
        return BUG
    return code if isinstance(code, int) else 0
