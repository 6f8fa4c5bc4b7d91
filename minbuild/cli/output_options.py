"""Results of a command and the options that say where they go: `--text`, `--md FILE`, `--json=-`;
each file whole or not at all."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from minbuild.cli.console import get_terminal_width, print_message, print_note, print_text
from minbuild.cli.format_arguments import (
    STDOUT,
    Arity,
    assign_format_files,
    count_arguments,
    find_path_arity,
    list_options,
)
from minbuild.cli.options import Command, GatheringCommand, add_gatherer, complete
from minbuild.errors import UsageError
from minbuild.file_io import translate_disk_errors, write_atomic
from minbuild.manifest.document.nodes import suggest
from minbuild.report.formats import FORMATS

Renderer = Callable[[], str]
FormatTargets = Mapping[str, str | None]
"""Format → the file that its option names, `-` for stdout, None when it is not asked for."""


def is_text_shown(targets: FormatTargets) -> bool:
    """Tell whether text goes to stdout, alone or among others."""
    return targets.get("text") == STDOUT or not any(targets.values())


def find_text_width(targets: FormatTargets) -> int:
    """Columns of the terminal that text goes to; 0 for no limit."""
    return get_terminal_width() if is_text_shown(targets) else 0


def write_formats(renderers: Mapping[str, Renderer], targets: FormatTargets) -> None:
    """Write every format that was asked for; text on stdout when none was.

    A line on stderr names each file.
    Raises: UsageError for two formats on stdout; ToolError for a file that cannot be written.
    """
    files_by_format = {name: target for name, target in targets.items() if target is not None}
    files_by_format = files_by_format or {"text": STDOUT}
    if list(files_by_format.values()).count(STDOUT) > 1:
        raise UsageError(
            "two formats would be written to stdout", fix="name a file for one: --json FILE"
        )
    texts = {name: renderers[name]() for name in files_by_format}
    for name, target in files_by_format.items():
        if (name, target) == ("text", STDOUT):
            print_text(texts[name])
        else:
            write_text(target, texts[name])


def write_text(target: str | Path, text: str, *, announce: bool = True) -> None:
    """Write a text to a file, or to stdout for `-`; a line on stderr names the file.

    Raises: ToolError for a file that cannot be written.
    """
    if str(target) == STDOUT:
        click.echo(text, nl=False)
        return
    path = Path(target)
    with translate_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())
    if announce:
        print_message(f"wrote {target}")


def json_option(command: Command) -> Command:
    """Give a command the flag `--json`, as its parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")(command)


def refuse_json_beside(target: str | Path, *, as_json: bool) -> None:
    """Raises: UsageError for `--json` of a command that writes its result to stdout."""
    if as_json and str(target) == STDOUT:
        raise UsageError(
            "--json says which files were written, and stdout has the file itself",
            fix="name a file, or leave out --json",
        )


def render_json(name: str, **values: object) -> str:
    """A JSON document of a command; its key `schema` is minbuild.NAME/1.

    A later version only has more keys; one that removes or changes a key has another number.
    """
    return json.dumps({"schema": f"minbuild.{name}/1", **values}, indent=1, default=str) + "\n"


_ARGUMENTS_KEY = "minbuild.not_files"


class FormatOptionsCommand(GatheringCommand):
    """A command whose format options may stand alone, which means stdout, or with a file.

    The file comes after `=` or a blank; `assign_format_files` tells it from an argument.
    """

    def find_arity(self, argv: tuple[str, ...]) -> Arity:
        """How many arguments the command takes; `argv` are the words that the user typed."""
        del argv
        return count_arguments(self)

    def list_formats(self) -> Mapping[str, tuple[str, ...]]:
        """Its format options, each with the endings of its files."""
        options = list_options(self)
        return {f"--{name}": one.endings for name, one in FORMATS.items() if f"--{name}" in options}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        parsed = assign_format_files(
            args, list_options(self), self.list_formats(), self.find_arity(tuple(args))
        )
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
        return find_path_arity(self, argv, self.list_formats())


def output_options(*names: str) -> Callable[[Command], Command]:
    """Give a command an option for each format; its parameter `targets` maps formats to files."""

    def gather_targets(values: dict[str, Any]) -> None:
        targets = {name: values.pop(f"out_{name}") for name in names}
        for text in values.pop("out_formats"):
            name, _, file = text.partition("=")
            if name not in targets:
                fix = suggest(name, names)
                raise UsageError(f"there is no format {name} here", where="--format", fix=fix)
            if targets[name] is not None:
                raise UsageError(f"the format {name} is asked for twice", fix="ask once for it")
            targets[name] = file or STDOUT
        values["targets"] = targets

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
        return click.option(
            "--format",
            "out_formats",
            multiple=True,
            metavar="NAME[=FILE]",
            help=f"The same by name: {', '.join(names)}; may be repeated.",
        )(command)

    return add_options
