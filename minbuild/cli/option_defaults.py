"""Defaults of options out of the config file: held against the commands, given to the one that runs."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click

from minbuild.cli.commands import COMMANDS
from minbuild.cli.console import COLOUR_VARIABLE, LOG_VARIABLE, apply_config_output
from minbuild.config import Config, unknown_key_error
from minbuild.errors import ArchiveError

_COMMON = frozenset({"help", "verbose", "quiet", "color", "store", "offline", "mirror", "as_json"})
"""Options that have a key of their own in the file, or say how the result of one run is shown."""


def apply_config(context: click.Context, config: Config) -> None:
    """Make the values of the config file the defaults of the command that is about to run.

    Raises: ArchiveError for a command or option that there is not, or a value that it refuses;
    UsageError for a log that is neither a level nor a file.
    """
    _check_commands(config)
    given = config.to_environment()
    added = {name: value for name, value in given.items() if name not in os.environ}
    apply_config_output(
        added.get(LOG_VARIABLE, ""), added.get(COLOUR_VARIABLE, ""), str(config.file)
    )
    os.environ.update(added)
    name = context.invoked_subcommand or ""
    if config.commands.get(name):
        context.default_map = {name: read_table(name, config, context)}


def check_tables(config: Config, context: click.Context) -> None:
    """Hold every table of the file against its command. Raises: ArchiveError as `apply_config`."""
    _check_commands(config)
    for name in config.commands:
        read_table(name, config, context)


def _check_commands(config: Config) -> None:
    for name in config.commands:
        if name not in COMMANDS:
            raise unknown_key_error(name, {**COMMANDS}, config.file)


def read_table(name: str, config: Config, context: click.Context) -> dict[str, object]:
    """The values of a command's table by the names of click's parameters, each one checked."""
    return _read_table(COMMANDS[name].load(), name, config.commands.get(name, {}), config, context)


def _read_table(
    command: click.Command, path: str, table: Mapping[str, object], config: Config,
    context: click.Context,
) -> dict[str, object]:  # fmt: skip
    options, subcommands = list_configurable(command), dict(list_subcommands(command, context))
    values: dict[str, object] = {}
    for key, value in table.items():
        if key in subcommands and isinstance(value, Mapping):
            values[key] = _read_table(subcommands[key], f"{path}.{key}", value, config, context)
        elif key in options:
            values[str(options[key].name)] = _read_value(
                options[key], f"{path}.{key}", value, config, context
            )
        else:
            known = {f"{path}.{name}": name for name in [*options, *subcommands]}
            raise unknown_key_error(f"{path}.{key}", known, config.file)
    return values


def _read_value(
    option: click.Option, name: str, value: object, config: Config, context: click.Context
) -> object:
    value = expand_home(option, value)
    try:
        option.type_cast_value(context, value)
    except (click.BadParameter, TypeError) as error:
        reason = error.message if isinstance(error, click.BadParameter) else str(error)
        raise ArchiveError(
            f"{name} in the config file cannot be {value!r}: {reason}",
            where=str(config.file),
            fix=f"see minbuild {name.rpartition('.')[0].replace('.', ' ')} --help",
        ) from error
    return value


def expand_home(option: click.Option, value: object) -> object:
    """The value of an option that names files, with the home directory for `~`."""
    if isinstance(value, list):
        return [expand_home(option, item) for item in value]
    is_path = isinstance(option.type, click.Path) or option.metavar in {"FILE", "FILE|URL", "IMAGE"}
    if is_path and isinstance(value, str) and (value == "~" or value.startswith("~/")):
        return str(Path(value).expanduser())
    return value


def list_configurable(command: click.Command) -> dict[str, click.Option]:
    """Options of a command that may have a default in the config file, by name without dashes.

    Formats are none of them: they say where the result of one run goes.
    """
    return {
        next(name for name in option.opts if name.startswith("--")).lstrip("-"): option
        for option in command.params
        if isinstance(option, click.Option)
        and option.name not in _COMMON
        and not str(option.name).startswith("out_")
        and (not option.is_flag or option.is_bool_flag)
    }


def list_subcommands(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command]]:
    """The commands below a group, by name; of another command none."""
    names: Iterable[str] = (
        command.list_commands(context) if isinstance(command, click.Group) else ()
    )
    for name in names:
        assert isinstance(command, click.Group)
        subcommand = command.get_command(context, name)
        if subcommand is not None:
            yield name, subcommand
