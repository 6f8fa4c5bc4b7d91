"""Lazy table of all commands: heading → name → module, function and help line.

A command's module is imported when the command runs, or when its own help or completion is asked
for. The help of the whole program shows this table and imports none of them.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from minbuild.cli.console import list_output_options
from minbuild.errors import UsageError, find_close_name

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


HELP_NAMES = ("-h", "--help")


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """One command: where it is defined, and its line in `minbuild --help`.

    Example: `CommandEntry("make", "make", "build images of manifests, print the footprint")`.
    """

    module: str
    """Module of minbuild.cli."""
    function: str
    """The click command in that module."""
    summary: str

    def load(self) -> click.Command:
        """Import the module and return the command."""
        command = getattr(importlib.import_module(f"minbuild.cli.{self.module}"), self.function)
        if not isinstance(command, click.Command):
            raise LookupError(f"minbuild.cli.{self.module}.{self.function} is not a click command")
        add_common_options(command)
        return command


def add_common_options(command: click.Command) -> None:
    """Give a command, and those below it, the options that every command has.

    The help option is made here: click keeps the first one that is asked for, with the names of
    the context in which that happens.
    """
    if not any(option.name == "verbose" for option in command.params):
        command.params.extend(list_output_options())
    command.get_help_option(click.Context(command, help_option_names=list(HELP_NAMES)))
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            add_common_options(subcommand)


COMMAND_GROUPS: Mapping[str, Mapping[str, CommandEntry]] = {
    "Build": {
        "make": CommandEntry("make", "make", "build images of manifests, print the footprint"),
        "plan": CommandEntry("plan", "plan", "resolve, and print what would be in the image"),
        "lock": CommandEntry("plan", "lock", "pin the packages of a manifest, or update them"),
        "check": CommandEntry("check", "check", "check an image against a budget"),
        "attest": CommandEntry("ship", "attest", "write provenance and sign SHA256SUMS"),
    },
    "Run": {
        "boot": CommandEntry("boot", "boot", "boot an image in QEMU and test that it works"),
        "tool": CommandEntry("machine", "tool", "run a program of the toolbox"),
    },
    "Explain": {
        "why": CommandEntry("explain", "why", "show the chain of needs that leads to a path"),
        "report": CommandEntry("explain", "report", "print the footprint of an image or root"),
        "diff": CommandEntry("diff", "diff", "compare two images and explain each new file"),
        "tree": CommandEntry(
            "explain", "tree", "print the closure with own, closure and added size"
        ),
        "check-tree": CommandEntry("check", "check_tree", "find unmet needs in any root"),
        "history": CommandEntry("diff", "history", "record footprints and show their trend"),
    },
    "Ship": {
        "sbom": CommandEntry("ship", "sbom", "write a software bill of materials"),
        "licences": CommandEntry("ship", "licences", "collect licence texts and sources"),
        "cve": CommandEntry("ship", "cve", "list open security issues of files in the image"),
        "verify": CommandEntry("ship", "verify", "check the parts of a build against each other"),
        "push": CommandEntry("registry", "push", "publish hosts in a registry or an OCI layout"),
        "pull": CommandEntry("registry", "pull", "fetch a host that was published"),
        "keygen": CommandEntry("registry", "keygen", "write keys that sign what is published"),
    },
    "Write": {
        "init": CommandEntry("init", "init", "write a commented manifest to start from"),
        "add": CommandEntry("edit", "add", "add components or files to a manifest"),
        "remove": CommandEntry("edit", "remove", "take components or files out of a manifest"),
        "components": CommandEntry("scaffold", "components", "list built-in components"),
        "schema": CommandEntry("scaffold", "schema", "print the JSON Schema of manifests"),
        "guest": CommandEntry("scaffold", "guest", "write guest.conf of a virtual machine"),
        "hardware": CommandEntry("scaffold", "hardware", "list this machine's devices"),
    },
    "Roots": {
        "elements": CommandEntry(
            "scaffold", "elements", "print the path of the diskimage-builder elements"
        ),
        "export": CommandEntry("dib", "export", "write a host's files as a tar archive"),
        "trim": CommandEntry("dib", "trim", "trim an installed root to a manifest's needs"),
    },
    "This machine": {
        "doctor": CommandEntry("machine", "doctor", "say what this machine can do, and what to do"),
        "config": CommandEntry("settings", "config", "show defaults and where they come from"),
        "store": CommandEntry("machine", "store", "check, clean, export or import the cache"),
        "completion": CommandEntry(
            "completion", "completion", "print completion for bash, zsh or fish"
        ),
    },
}
"""Every command once, in the order in which users meet them."""

COMMANDS: Mapping[str, CommandEntry] = {
    name: entry for rows in COMMAND_GROUPS.values() for name, entry in rows.items()
}


class CommandGroup(click.Group):
    """Lists the commands of the table under headings, and imports each when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is None and cmd_name in COMMANDS:
            command = COMMANDS[cmd_name].load()
            self.add_command(command, cmd_name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem  # only while a shell completes

        commands = [
            CompletionItem(name, help=entry.summary)
            for name, entry in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = find_close_name(args[0], COMMANDS)
            fix = f"did you mean {near}?" if near else "see minbuild --help"
            raise UsageError(f"there is no command {args[0]}", fix=fix) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for heading, rows in COMMAND_GROUPS.items():
            with formatter.section(heading):
                lines = [(name, entry.summary) for name, entry in rows.items()]
                formatter.write_dl(lines, col_spacing=max(2, 12 - max(map(len, rows))))
