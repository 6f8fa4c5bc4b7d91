"""Defaults out of the config file: applied before a command is parsed, and shown by `config`."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import click

from minbuild.archive.mirror import find_mirror
from minbuild.cli.commands import COMMANDS
from minbuild.cli.console import get_terminal_width
from minbuild.config import SETTINGS, Config, find_config_file, load_config, unknown_key_error
from minbuild.errors import ArchiveError, MinbuildError, UsageError
from minbuild.pipeline.session import find_store_directory
from minbuild.report.layout import align_columns

SCHEMA = "minbuild.config/1"


@dataclass(frozen=True, slots=True)
class SettingValue:
    """A default with its origin."""

    name: str
    """`store`, or `make.jobs` of a command's option."""
    value: str
    source: str
    """default, an environment variable, or the path of a file."""
    meaning: str


def apply_config(context: click.Context, config: Config) -> None:
    """Make the values of the config file the defaults of the command that is about to run.

    Raises: ArchiveError for a command or option that there is not, or a value that it refuses.
    """
    for name, value in config.to_environment().items():
        os.environ.setdefault(name, value)
    for name in config.commands:
        if name not in COMMANDS:
            raise unknown_key_error(name, {**COMMANDS}, config.file)
    name = context.invoked_subcommand or ""
    table = config.commands.get(name)
    if table:
        command = COMMANDS[name].load()
        context.default_map = {name: _read_table(command, name, table, config, context)}


def _read_table(
    command: click.Command, path: str, table: Mapping[str, object], config: Config,
    context: click.Context,
) -> dict[str, object]:  # fmt: skip
    """The values of a command's table by the names of click's parameters, each one checked."""
    options = list_configurable(command)
    values: dict[str, object] = {}
    for key, value in table.items():
        sub = command.get_command(context, key) if isinstance(command, click.Group) else None
        if sub is not None and isinstance(value, Mapping):
            values[key] = _read_table(sub, f"{path}.{key}", value, config, context)
            continue
        if key not in options:
            subs = dict.fromkeys(command.list_commands(context), "") if isinstance(
                command, click.Group) else {}  # fmt: skip
            raise unknown_key_error(f"{path}.{key}", {
                f"{path}.{name}": name for name in [*options, *subs]}, config.file)  # fmt: skip
        option = options[key]
        try:
            option.type_cast_value(context, value)
        except (click.BadParameter, TypeError) as error:
            reason = error.message if isinstance(error, click.BadParameter) else str(error)
            raise ArchiveError(
                f"{path}.{key} in the config file cannot be {value!r}: {reason}",
                where=str(config.file),
                fix=f"see minbuild {path.replace('.', ' ')} --help",
            ) from error
        values[str(option.name)] = value
    return values


def list_configurable(command: click.Command) -> dict[str, click.Option]:
    """Options of a command that may have a default in the config file, by name without dashes.

    Formats are none of them: they say where the result of one run goes.
    """
    common = {"help", "verbose", "quiet", "color", "store", "offline", "mirror"}
    return {
        max(option.opts, key=len).lstrip("-"): option
        for option in command.params
        if isinstance(option, click.Option)
        and option.name not in common
        and not str(option.name).startswith("out_")
        and (not option.is_flag or option.is_bool_flag)
        and option.name != "as_json"
    }


@click.command()
@click.argument("name", required=False)
@click.option("--all", "with_all", is_flag=True, help="Also each option of each command.")
@click.option(
    "--template", is_flag=True, help="Print a config file with every default, as comments."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@click.pass_context
def config(
    context: click.Context, name: str | None, with_all: bool, template: bool, as_json: bool
) -> None:
    """Show each default and where it comes from; NAME (store, make.jobs): its value alone.

    An option on the command line wins over an environment variable, that over the config file,
    and that over minbuild's own default.
    """
    loaded = load_config(find_config_file())
    if template:
        click.echo(render_config_template(context), nl=False)
        return
    rows = [*_list_settings(loaded), *_list_options(loaded, context)]
    if name is not None:
        row_by_name = {row.name: row for row in rows}
        if name not in row_by_name:
            error = unknown_key_error(name, {**row_by_name}, loaded.file)
            raise UsageError(f"there is no setting {name}", fix=error.fix)
        rows = [row_by_name[name]]
        if not as_json:
            click.echo(rows[0].value)
            return
    elif not with_all:
        rows = [row for row in rows if "." not in row.name or row.source != "default"]
    if as_json:
        document = {
            "schema": SCHEMA,
            "file": str(loaded.file),
            "settings": [
                {"name": row.name, "value": row.value, "from": row.source, "meaning": row.meaning}
                for row in rows
            ],
        }
        click.echo(json.dumps(document, indent=1))
        return
    cells = [["setting", "value", "from"], *([row.name, row.value, row.source] for row in rows)]
    click.echo(
        "\n".join(
            align_columns(cells, frozenset({0, 1, 2}), width=get_terminal_width(), shrinkable=1)
        )
    )
    if not loaded.file.exists():
        click.echo(f"\nthere is no {loaded.file}; to write one: minbuild config --template")


def _list_settings(loaded: Config) -> Iterator[SettingValue]:
    for setting in SETTINGS:
        value, source = setting.default, "default"
        own = os.environ.get(setting.variable, "") if setting.variable else ""
        if setting.name in loaded.values:
            listed = loaded.values[setting.name]
            value = " ".join(listed) if isinstance(listed, list) else _format_value(listed)
            source = str(loaded.file)
        if own and (
            setting.name not in loaded.values
            or own != loaded.to_environment().get(setting.variable)
        ):
            value, source = own, setting.variable
        if setting.name == "mirror" and source == "default":
            value, source = _find_machine_mirror()
        if setting.name == "store" and source == "default":
            value = str(find_store_directory())
        yield SettingValue(setting.name, value, source, setting.meaning)


def _find_machine_mirror() -> tuple[str, str]:
    try:
        mirror = find_mirror("")
    except MinbuildError as error:
        return f"none: {error.what}", "default"
    return mirror.debian, mirror.configured_by


def _format_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _list_options(loaded: Config, context: click.Context) -> Iterator[SettingValue]:
    root = context.parent or context
    for name, entry in COMMANDS.items():
        yield from _list_command(entry.load(), name, loaded.commands.get(name, {}), loaded, root)


def _list_command(
    command: click.Command, path: str, table: Mapping[str, object], loaded: Config,
    root: click.Context,
) -> Iterator[SettingValue]:  # fmt: skip
    if table:
        _read_table(command, path, table, loaded, root)
    for key, option in list_configurable(command).items():
        value, source = _format_default(option), "default"
        if key in table:
            value, source = _format_value(table[key]), str(loaded.file)
        meaning = " ".join((option.help or "").split())
        yield SettingValue(f"{path}.{key}", value, source, meaning)
    if isinstance(command, click.Group):
        for sub in command.list_commands(root):
            child, below = command.get_command(root, sub), table.get(sub, {})
            if child is not None and isinstance(below, Mapping):
                yield from _list_command(child, f"{path}.{sub}", below, loaded, root)


def _format_default(option: click.Option) -> str:
    default = option.default
    if option.is_flag:
        return "true" if default is True else "false"
    if (
        option.multiple
        or default is None
        or callable(default)
        or "Sentinel" in type(default).__name__
    ):
        return ""
    return str(default)


def render_config_template(context: click.Context) -> str:
    """A config file with every key as a comment: its meaning, and what applies without it."""
    lines = ["# Defaults of minbuild: ~/.config/minbuild/config.toml", ""]
    for setting in SETTINGS:
        lines += [f"# {setting.meaning}", f"# {setting.name} = {_quote(setting.default)}", ""]
    heading = ""
    for row in _list_options(Config(find_config_file()), context):
        table, _, key = row.name.rpartition(".")
        if table != heading:
            heading = table
            lines += [f"# [{table}]"]
        lines += [f"# {key} = {_quote(row.value)}  # {row.meaning}"]
    return "\n".join(lines) + "\n"


def _quote(value: str) -> str:
    is_plain = value in {"true", "false"} or value.isdecimal()
    return value if is_plain else json.dumps(value, ensure_ascii=False)
