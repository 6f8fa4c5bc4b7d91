"""Command that shows defaults and where each comes from, and writes a config file: config."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import click

from minbuild.archive.mirror import find_mirror
from minbuild.cli.commands import COMMANDS
from minbuild.cli.console import get_terminal_width, print_message
from minbuild.cli.option_defaults import (
    check_tables,
    expand_home,
    list_configurable,
    list_subcommands,
)
from minbuild.cli.output_options import json_option, render_json
from minbuild.config import (
    SETTINGS,
    Config,
    Setting,
    find_config_file,
    load_config,
    unknown_key_error,
)
from minbuild.errors import MinbuildError, UsageError
from minbuild.pipeline.session import find_store_directory
from minbuild.report.layout import align_columns


@dataclass(frozen=True, slots=True)
class SettingValue:
    """A default with its origin."""

    name: str
    """`store`, or `make.jobs` of a command's option."""
    value: str
    source: str
    """default, an environment variable, or the path of a file."""
    meaning: str


@click.command()
@click.argument("name", required=False)
@click.option("--all", "with_all", is_flag=True, help="Also each option of each command.")
@click.option(
    "--template", is_flag=True, help="Print a config file with every default, as comments."
)
@json_option
@click.pass_context
def config(
    context: click.Context, name: str | None, with_all: bool, template: bool, as_json: bool
) -> None:
    """Show each default and where it comes from; NAME (store, make.jobs): its value alone.

    An option on the command line wins over an environment variable, that over the config file,
    and that over minbuild's own default.
    """
    _check_options(name, with_all=with_all, template=template, as_json=as_json)
    loaded = load_config(find_config_file())
    check_tables(loaded, context)
    if template:
        click.echo(render_config_template(context), nl=False)
        return
    rows = _select_rows(loaded, context, name, with_all=with_all)
    if as_json:
        settings = [
            {"name": row.name, "value": row.value, "from": row.source, "meaning": row.meaning}
            for row in rows
        ]
        click.echo(render_json("config", file=loaded.file, settings=settings), nl=False)
    elif name is not None:
        click.echo(rows[0].value)
    else:
        click.echo(_render_rows(rows))
        if not loaded.file.exists():
            print_message(
                f"\nthere is no {loaded.file}; to write one: minbuild config --template", err=False
            )


def _check_options(name: str | None, *, with_all: bool, template: bool, as_json: bool) -> None:
    """Raises: UsageError for options of which one would have no effect."""
    given = {"NAME": name is not None, "--all": with_all, "--template": template, "--json": as_json}
    for first, second in [("NAME", "--all"), ("NAME", "--template"), ("--all", "--template"),
                       ("--template", "--json")]:  # fmt: skip
        if given[first] and given[second]:
            raise UsageError(
                f"{first} and {second} do not go together", fix="leave one of them out"
            )


def _select_rows(
    loaded: Config, context: click.Context, name: str | None, *, with_all: bool
) -> list[SettingValue]:
    """The rows that are asked for; only their commands are loaded."""
    if name is None:
        commands: Iterable[str] = COMMANDS if with_all else loaded.commands
        rows = [*_list_settings(loaded), *_list_options(loaded, context, commands)]
        return [row for row in rows if with_all or "." not in row.name or row.source != "default"]
    command = name.partition(".")[0]
    rows = [*_list_settings(loaded)]
    if "." in name and command in COMMANDS:
        rows += _list_options(loaded, context, [command])
    row_by_name = {row.name: row for row in rows}
    if name not in row_by_name:
        error = unknown_key_error(name, {**row_by_name}, loaded.file)
        raise UsageError(f"there is no setting {name}", fix=error.fix)
    return [row_by_name[name]]


def _render_rows(rows: Iterable[SettingValue]) -> str:
    cells = [["setting", "value", "from"], *([row.name, row.value, row.source] for row in rows)]
    return "\n".join(
        align_columns(cells, frozenset({0, 1, 2}), width=get_terminal_width(), shrinkable=1)
    )


def _list_settings(loaded: Config) -> Iterator[SettingValue]:
    for setting in SETTINGS:
        value, source = setting.default, "default"
        own = os.environ.get(setting.variable, "") if setting.variable else ""
        if setting.name in loaded.values:
            value, source = _format_setting(setting, loaded), str(loaded.file)
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


def _format_setting(setting: Setting, loaded: Config) -> str:
    """A value of the file as it applies: with the home directory for `~`."""
    if setting.name == "trusted":
        return " ".join(map(str, loaded.trusted)) or setting.default
    value = loaded.values[setting.name]
    if isinstance(value, list):
        return " ".join(value)
    return loaded.to_environment().get(setting.variable) or _format_value(value)


def _find_machine_mirror() -> tuple[str, str]:
    try:
        mirror = find_mirror("")
    except MinbuildError as error:
        return f"none: {error.what}", "default"
    return mirror.debian, mirror.configured_by


def _format_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _list_options(
    loaded: Config, context: click.Context, commands: Iterable[str]
) -> Iterator[SettingValue]:
    root = context.parent or context
    for name in commands:
        table = loaded.commands.get(name, {})
        yield from _list_command(COMMANDS[name].load(), name, table, loaded, root)


def _list_command(
    command: click.Command, path: str, table: Mapping[str, object], loaded: Config,
    root: click.Context,
) -> Iterator[SettingValue]:  # fmt: skip
    for key, option in list_configurable(command).items():
        value, source = _format_default(option), "default"
        if key in table:
            value, source = _format_value(expand_home(option, table[key])), str(loaded.file)
        meaning = " ".join((option.help or "").split())
        yield SettingValue(f"{path}.{key}", value, source, meaning)
    for name, child in list_subcommands(command, root):
        below = table.get(name, {})
        if isinstance(below, Mapping):
            yield from _list_command(child, f"{path}.{name}", below, loaded, root)


def _has_default(option: click.Option) -> bool:
    default = option.default
    return not (
        option.multiple
        or default is None
        or default == ""
        or callable(default)
        or "Sentinel" in type(default).__name__
    )


def _format_default(option: click.Option) -> str:
    if option.is_flag:
        return "true" if option.default is True else "false"
    return str(option.default) if _has_default(option) else ""


_TEMPLATE_HEAD = """\
# Defaults of minbuild: ~/.config/minbuild/config.toml
#
# A line `# key = value` has what applies without it: take away the `# ` and change the value.
# A line `## key = value` has an example of its form: nothing applies without it.
"""


def render_config_template(context: click.Context) -> str:
    """A config file with every key as a comment: its meaning, and what applies without it.

    Without the `# ` it is a file that changes nothing.
    """
    root = context.parent or context
    lines = [_TEMPLATE_HEAD]
    for setting in SETTINGS:
        if "." not in setting.key:
            lines += [f"# {setting.meaning}", _render_setting(setting, setting.key), ""]
    for name, entry in COMMANDS.items():
        lines += _render_table(entry.load(), name, root)
    return "\n".join(lines) + "\n"


def _render_setting(setting: Setting, key: str) -> str:
    if setting.default_value is None:
        return f"## {key} = {setting.example}"
    return f"# {key} = {quote_toml(setting.default_value)}"


def _render_table(command: click.Command, path: str, root: click.Context) -> Iterator[str]:
    """Lines of a command's table, and of those below it; none for a command without keys."""
    own = [
        f"{_render_setting(setting, setting.key.rpartition('.')[2])}  # {setting.meaning}"
        for setting in SETTINGS
        if setting.key.rpartition(".")[0] == path
    ]
    for key, option in list_configurable(command).items():
        meaning = " ".join((option.help or "").split())
        own.append(f"{_render_option(key, option)}  # {meaning}")
    if own:
        yield from (f"# [{path}]", *own, "")
    for name, child in list_subcommands(command, root):
        yield from _render_table(child, f"{path}.{name}", root)


def _render_option(key: str, option: click.Option) -> str:
    if option.is_flag:
        return f"# {key} = {_format_default(option)}"
    if _has_default(option):
        return f"# {key} = {quote_toml(option.default)}"
    example: object = option.metavar or "PATH"
    if isinstance(option.type, click.Choice):
        example = option.type.choices[0]
    elif isinstance(option.type, click.types.IntParamType):
        example = 1
    return f"## {key} = {quote_toml([example] if option.multiple else example)}"


def quote_toml(value: object) -> str:
    """A value in TOML. Source: TOML 1.0.0, String: DEL is escaped there, and not in JSON."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case list() | tuple():
            return f"[{', '.join(map(quote_toml, value))}]"
        case _:
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
