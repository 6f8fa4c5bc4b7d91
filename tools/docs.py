"""The pages of docs/reference that are written by the program itself: `make docs`.

Source of each: the options of the commands, and the components that ship.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from minbuild.cli.commands import COMMAND_GROUPS
from minbuild.cli.main import minbuild
from minbuild.manifest.components import ComponentSummary, list_components

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
OPTIONS = (
    "Every option of every command. `make docs` writes this page; what the commands do stands in "
    "[commands](commands.md)."
)
COMPONENTS = (
    "`make docs` writes this page; `minbuild components` prints the same. How one is written "
    "stands in [manifest.md](manifest.md#components)."
)


def pages() -> Mapping[str, str]:
    """Name of each page → its text."""
    return {"options.md": options(), "components.md": components(list_components([]))}


def options() -> str:
    """Every option of every command, under the headings of `minbuild --help`."""
    lines = ["# Options", "", OPTIONS, ""]
    root = click.Context(minbuild)
    for heading, rows in COMMAND_GROUPS.items():
        lines += [f"## {heading}", ""]
        for name in rows:
            command = minbuild.get_command(root, name)
            if command is None:
                raise LookupError(f"cli/commands.py lists {name}, and no command has that name")
            lines += _command(command, root, name)
    return "\n".join(lines)


def _command(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    context = click.Context(command, parent, info_name=name)
    path = f"{parent.command_path} {name}" if parent.parent else f"minbuild {name}"
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    usage = " ".join((path, *(one.metavar or one.human_readable_name for one in arguments)))
    yield from (f"### {path}", "", f"`{usage}`", "")
    rows = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    if rows:
        yield from ("| option | meaning |", "|---|---|")
        yield from (f"| `{_cell(_words(one))}` | {_cell(_meaning(one))} |" for one in rows)
        yield ""
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            if found is not None:
                yield from _command(found, context, sub)


def _words(option: click.Option) -> str:
    """`-o, --output FILE`; written here, since click's own form differs between its releases."""
    names = ", ".join(sorted((*option.opts, *option.secondary_opts), key=len))
    if option.is_flag or option.count:
        return names
    kind = option.type
    choices = kind.choices if isinstance(kind, click.Choice) else ()
    value = option.metavar or "|".join(map(str, choices)) or kind.name.upper()
    return f"{names}{'' if value.startswith('[=') else ' '}{value}"


def _meaning(option: click.Option) -> str:
    text = " ".join((option.help or "").split())
    shown = option.show_default and option.default is not None and not option.is_flag
    return f"{text} [default: {option.default}]" if shown else text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def components(listed: tuple[ComponentSummary, ...]) -> str:
    """Every component that ships: its name, what it is, what comes with it."""
    lines = ["# Components that ship", "", COMPONENTS, ""]
    lines += ["| component | what it is | needs |", "|---|---|---|"]
    for one in listed:
        needs = " ".join(f"`{name}`" for name in one.needs)
        lines.append(f"| `{one.name}` | {_cell(one.summary)} | {needs} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
