"""The pages of docs/reference and docs/man that are written by the program itself: `make docs`.

Source of each: the options of the commands, and the components that ship.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from minbuild.cli.commands import COMMAND_GROUPS
from minbuild.cli.console import list_output_options
from minbuild.cli.main import minbuild
from minbuild.manifest.components import ComponentSummary, list_components
from tools import man
from tools.man import format_meaning, format_names, format_value, list_options

DOCS = Path(__file__).parents[1] / "docs"
REFERENCE = DOCS / "reference"
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
    lines += ["## Every command", "", *_table(list_output_options())]
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
    common = {option.name for option in list_output_options()}
    if rows := [option for option in list_options(command) if option.name not in common]:
        yield from _table(rows)
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            if found is not None:
                yield from _command(found, context, sub)


def _table(options: Sequence[click.Option]) -> Iterator[str]:
    yield from ("| option | meaning |", "|---|---|")
    for one in options:
        words = format_names(one) + format_value(one)
        yield f"| `{_cell(words)}` | {_cell(format_meaning(one))} |"
    yield ""


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
    man.write_pages(DOCS / "man")


if __name__ == "__main__":
    main()
