"""Format options of a command: `--text`, `--md FILE`, `--json=-`, each to a file or stdout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from minbuild.cli.console import print_note
from minbuild.cli.format_arguments import (
    Arity,
    assign_format_files,
    count_arguments,
    list_arguments,
    list_options,
)
from minbuild.cli.options import Command, GatheringCommand, add_gatherer, complete
from minbuild.errors import UsageError
from minbuild.manifest.shipped_manifests import is_manifest_name
from minbuild.report.formats import FORMATS

_ARGUMENTS_KEY = "minbuild.not_files"


class FormatOptionsCommand(GatheringCommand):
    """A command whose format options may stand alone, which means stdout, or with a file.

    The file comes after `=` or a blank; `assign_format_files` tells it from an argument.
    """

    def find_arity(self, argv: tuple[str, ...]) -> Arity:
        """How many arguments the command takes; `argv` are the words that the user typed."""
        del argv
        return count_arguments(self)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        parsed = assign_format_files(args, list_options(self), self.find_arity(tuple(args)))
        ctx.meta[_ARGUMENTS_KEY] = parsed.not_files
        for word, option in parsed.not_files.items():
            if not ctx.resilient_parsing and word.endswith(".json") and Path(word).is_file():
                print_note(f"{word} is read, not written; to write it: {option}={word}")
        return super().parse_args(ctx, list(parsed.arguments))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            option = ctx.meta[_ARGUMENTS_KEY].get(error.where)
            if option and not Path(error.where).exists():
                error.fix += f"; to write it: {option}={error.where}"
            raise


class PathArgumentCommand(FormatOptionsCommand):
    """A command whose arguments are [IMAGE|MANIFEST] and a path inside it."""

    def find_arity(self, argv: tuple[str, ...]) -> Arity:
        """Beside an image or a manifest a PATH that is required must not be taken for a file."""
        least = count_arguments(self).least
        first = next(iter(list_arguments(argv, list_options(self))), "")
        return Arity(2 if least and _is_image(first) else least, 2, has_path=True)


def _is_image(name: str) -> bool:
    return name.startswith("git:") or (bool(name) and Path(name).exists()) or is_manifest_name(name)


def output_options(*names: str) -> Callable[[Command], Command]:
    """Give a command an option for each format; its parameter `targets` maps formats to files."""

    def gather_targets(values: dict[str, Any]) -> None:
        values["targets"] = {name: values.pop(f"out_{name}") for name in names}

    def add_options(command: Command) -> Command:
        for name in reversed(names):
            if name not in FORMATS:
                raise LookupError(f"a command offers --{name}: add it to report/formats.py")
            command = click.option(
                f"--{name}",
                f"out_{name}",
                metavar="[FILE]",
                shell_complete=complete("files"),
                help=f"Write {FORMATS[name].help}.",
            )(command)
        add_gatherer(command, gather_targets)
        return command

    return add_options
