"""The pages of docs/reference and docs/man that are written by the program itself: `make docs`.

Source of each: the options of the commands, the components that ship, the schema of manifests, and
the blocks of all pages. The picture of a terminal is drawn with them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from minbuild.cli import command_index
from minbuild.cli.commands import COMMAND_GROUPS
from minbuild.cli.console import list_output_options
from minbuild.cli.main import minbuild
from minbuild.lab.probes import make_default_probes
from minbuild.manifest.component_description import ComponentDescription, describe_component
from minbuild.manifest.components import ComponentSummary, list_components
from minbuild.manifest.variable_types import describe_type
from tools import keys, man, picture
from tools.doc_blocks import Block, Held, list_pages, read_blocks
from tools.man import format_meaning, format_names, format_value, list_options

DOCS = Path(__file__).parents[1] / "docs"
REFERENCE = DOCS / "reference"
OPTIONS = (
    "Every option of every command. `make docs` writes this page; what the commands do stands in "
    "[commands](commands.md)."
)
COMPONENTS = (
    "`make docs` writes this page; `minbuild components NAME` prints the same. How one is written "
    "stands in [manifests](manifest.md#components)."
)
EXAMPLES = (
    "How the commands on each page are held against reality. `make test` runs each page from top to "
    "bottom in an empty directory and compares what is printed with what the page shows: counts "
    "exactly, sizes within a tenth; `…` stands for what is left out. `make lab-faults` runs those that boot a "
    "machine. `make docs` writes this page."
)


def pages() -> Mapping[str, str]:
    """Name of each page → its text."""
    return {
        "options.md": options(),
        "components.md": components(list_components([])),
        "keys.md": keys.render(),
        "examples.md": examples([block for page in list_pages() for block in read_blocks(page)]),
    }


def index() -> str:
    """The index by which a shell completes."""
    return command_index.render_index([probe.name for probe in make_default_probes()])


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
    """Every component that ships: a table, then each with its variables, files and probes."""
    lines = ["# Components that ship", "", COMPONENTS, ""]
    lines += ["| component | what it is |", "|---|---|"]
    for one in listed:
        anchor = one.name.replace("/", "")
        lines.append(f"| [`{one.name}`](#{anchor}) | {_cell(one.summary)} |")
    for one in listed:
        lines += _component(describe_component(one.name, []))
    return "\n".join(lines) + "\n"


def _component(one: ComponentDescription) -> Iterator[str]:
    yield from ("", f"## {one.name}", "", f"{one.summary}.", "")
    if one.comments:
        yield from (one.comments.replace("<", "&lt;").replace("*", "\\*"), "")
    if one.needs:
        yield f"Needs {', '.join(f'`{name}`' for name in one.needs)}."
        yield ""
    if one.variables:
        yield from ("| variable | type | default | meaning |", "|---|---|---|---|")
        for variable in one.variables:
            default = keys.dump(_plain(variable.declaration.default))
            kind = describe_type(variable.declaration)
            cells = (f"`{variable.name}`", kind, f"`{default}`", variable.meaning)
            yield f"| {' | '.join(map(_cell, cells))} |"
        yield ""
    for kind, rows in one.contents.items():
        yield f"- {kind}: {' '.join(f'`{row}`' for row in rows)}"
    for name, means in one.probes:
        yield f"- probe `{name}`; fails: {means}"


def _plain(value: object) -> object:
    return [*value] if isinstance(value, tuple) else value


def examples(blocks: list[Block]) -> str:
    """Each page with the number of its blocks by how they are held, and each that is not run."""
    shell = [block for block in blocks if block.is_shell]
    lines = ["# How the examples are held", "", EXAMPLES, ""]
    lines += ["| page | run | run with a boot | not run |", "|---|---|---|---|"]
    for page in dict.fromkeys(block.page for block in shell):
        held = [block.held for block in shell if block.page == page]
        counts = (held.count(Held.RUN), held.count(Held.LONG), held.count(Held.NOT_RUN))
        lines.append(f"| `{page}` | {' | '.join(str(count or '-') for count in counts)} |")
    lines += ["", "## Blocks that are not run", "", "| page | begins with | why |", "|---|---|---|"]
    for block in shell:
        if block.held is Held.NOT_RUN:
            first = block.text.splitlines()[0].removeprefix("$ ").partition("  #")[0].strip()
            lines.append(f"| `{block.page}` | `{_cell(first)}` | {_cell(block.reason)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
    man.write_pages(DOCS / "man")
    command_index.INDEX.write_text(index(), encoding="utf-8")
    picture.write()


if __name__ == "__main__":
    main()
