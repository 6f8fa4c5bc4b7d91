"""Index of all commands and options, by which a shell completes without loading any command.

`make docs` writes it from the commands themselves; the suite holds it against them. To load the
commands' modules for the names of their options took most of the time of a TAB.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Required, TypedDict

import click

from minbuild.cli.commands import COMMANDS, CommandGroup
from minbuild.cli.console import list_output_options
from minbuild.cli.format_arguments import (
    Arity,
    assign_format_files,
    count_arguments,
    find_path_arity,
    list_options,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]
INDEX = Path(__file__).with_suffix(".json")
_COMMON = frozenset(option.name for option in list_output_options())
_FLAGS = ("is_flag", "count", "multiple", "hidden", "required")


class ParameterRow(TypedDict, total=False):
    """An option or an argument, as click's parameters take it."""

    param: Required[str]
    """option or argument"""
    names: Required[list[str]]
    """Its words, then the name of its value."""
    help: str
    metavar: str
    nargs: int
    choices: list[str]
    path: list[str]
    """file, directory: what a path may be."""
    complete: str
    """What completes it."""
    flag_value: object
    is_flag: bool
    count: bool
    multiple: bool
    hidden: bool
    required: bool


class CommandRow(TypedDict, total=False):
    """A command, or a group of them."""

    help: Required[str]
    params: Required[list[ParameterRow]]
    formats: dict[str, list[str]]
    """Option of a format → the endings of its files."""
    has_path: bool
    interspersed: bool
    commands: dict[str, "CommandRow"]


class _Index(TypedDict):
    probes: list[str]
    commands: dict[str, CommandRow]


class IndexedGroup(CommandGroup):
    """The program with commands out of the index."""

    def __init__(self, program: click.Command, completers: Mapping[str, Completer]) -> None:
        """`completers`: what an argument or option names → what completes it."""
        self._completers = completers
        settings = program.context_settings
        super().__init__(program.name, params=program.params, context_settings=settings)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        row = _read_index()["commands"].get(cmd_name)
        return None if row is None else _make_command(cmd_name, row, self._completers)


class IndexedCommand(click.Command):
    """A command whose words are told apart as by the one that runs, and that does nothing."""

    def __init__(self, name: str, row: CommandRow, params: list[click.Parameter]) -> None:
        settings = {"allow_interspersed_args": row.get("interspersed", True)}
        super().__init__(name, params=params, short_help=row["help"], context_settings=settings)
        self._formats = {option: tuple(endings) for option, endings in row["formats"].items()}
        self._has_path = bool(row.get("has_path"))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if self._formats:
            parsed = assign_format_files(
                args, list_options(self), self._formats, self._find_arity(args)
            )
            args = list(parsed.arguments)
        return super().parse_args(ctx, args)

    def _find_arity(self, args: list[str]) -> Arity:
        if self._has_path:
            return find_path_arity(self, args, self._formats)
        return count_arguments(self)


def list_default_probes() -> list[str]:
    """Names of the probes of an image that says nothing of its own."""
    return [str(name) for name in _read_index()["probes"]]


@cache
def _read_index() -> _Index:
    document: _Index = json.loads(INDEX.read_bytes())
    return document


def _make_command(name: str, row: CommandRow, completers: Mapping[str, Completer]) -> click.Command:
    params = [_make_parameter(one, completers) for one in row["params"]]
    params += list_output_options()
    if "commands" not in row:
        return IndexedCommand(name, row, params)
    children = {
        child: _make_command(child, below, completers) for child, below in row["commands"].items()
    }
    return click.Group(name, children, params=params, short_help=row["help"])


def _make_parameter(row: ParameterRow, completers: Mapping[str, Completer]) -> click.Parameter:
    choices, complete = row.get("choices"), row.get("complete")
    kind = _make_path(row) if choices is None else click.Choice(choices)
    completer = completers[complete] if complete else None
    nargs, metavar, is_required = row.get("nargs"), row.get("metavar"), row.get("required", False)
    if row["param"] == "argument":
        return click.Argument(
            row["names"], required=is_required, type=kind, nargs=nargs, metavar=metavar,
            shell_complete=completer,
        )  # fmt: skip
    option = partial(
        click.Option, row["names"], help=row.get("help"), required=is_required,
        multiple=row.get("multiple", False), hidden=row.get("hidden", False),
    )  # fmt: skip
    if row.get("is_flag"):
        return option(is_flag=True, flag_value=row.get("flag_value", True))
    if row.get("count"):
        return option(count=True)
    return option(type=kind, nargs=nargs, metavar=metavar, shell_complete=completer)


def _make_path(row: ParameterRow) -> click.Path | None:
    if "path" not in row:
        return None
    return click.Path(file_okay="file" in row["path"], dir_okay="directory" in row["path"])


def render_index(probes: list[str]) -> str:
    """Write the index of the commands as they are, one a line.

    `probes`: see `list_default_probes`.
    """
    rows = [
        f'"{name}": {json.dumps(_describe_command(entry.load()), sort_keys=True)}'
        for name, entry in COMMANDS.items()
    ]
    commands = ",\n".join(rows)
    return f'{{"probes": {json.dumps(probes)},\n"commands": {{\n{commands}\n}}}}\n'


def _describe_command(command: click.Command) -> dict[str, object]:
    row: dict[str, object] = {
        "help": command.get_short_help_str(),
        "params": [_describe_parameter(one) for one in command.params if one.name not in _COMMON],
    }
    if isinstance(command, click.Group):
        children = command.commands.items()
        return row | {"commands": {name: _describe_command(child) for name, child in children}}
    list_formats = getattr(command, "list_formats", dict)  # of a FormatOptionsCommand
    row["formats"] = {name: list(endings) for name, endings in list_formats().items()}
    if row["formats"] and command.find_arity(()).has_path:  # type: ignore[attr-defined]
        row["has_path"] = True
    if not command.context_settings.get("allow_interspersed_args", True):
        row["interspersed"] = False
    return row


def _describe_parameter(param: click.Parameter) -> dict[str, object]:
    is_option = isinstance(param, click.Option)
    words = [*param.opts, *param.secondary_opts] if is_option else []
    row: dict[str, object] = {"param": param.param_type_name, "names": [*words, str(param.name)]}
    row |= {name: True for name in _FLAGS if getattr(param, name, False)}
    row |= {"nargs": param.nargs} if param.nargs != 1 else {}
    row |= {"metavar": param.metavar} if param.metavar else {}
    if isinstance(param, click.Option):
        row["help"] = param.help
        row |= {"flag_value": param.flag_value} if param.is_flag and not param.is_bool_flag else {}
    return row | _describe_values(param)


def _describe_values(param: click.Parameter) -> dict[str, object]:
    """What the value of a parameter can be."""
    row: dict[str, object] = {}
    if isinstance(param.type, click.Choice):
        row["choices"] = [str(choice) for choice in param.type.choices]
    if isinstance(param.type, click.Path):
        kinds = {"file": param.type.file_okay, "directory": param.type.dir_okay}
        row["path"] = [kind for kind, is_accepted in kinds.items() if is_accepted]
    completer = param._custom_shell_complete
    if isinstance(completer, partial):  # of options.complete
        row["complete"] = completer.args[0]
    return row
