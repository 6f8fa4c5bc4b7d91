"""Several outputs from one run: `--text`, `--md=FILE`, `--json=-`, each a file or stdout."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from minbuild.errors import UsageError

HELP = {
    "text": "a page for a terminal",
    "md": "Markdown for a pull request",
    "json": "JSON",
    "csv": "CSV",
    "html": "one HTML file",
    "junit": "JUnit XML",
    "sarif": "SARIF",
    "dot": "a Graphviz graph",
}
STDOUT = "-"
Command = TypeVar("Command", bound=Callable[..., Any])
Render = Callable[[], str]


class Outputting(click.Command):
    """A command whose format options take their file only after `=`: `--json build/host` is two."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        bare = {f"--{name}" for name in HELP}
        words: list[str] = []
        for number, word in enumerate(args):
            if word == "--":
                words += args[number:]
                break
            if word == STDOUT and number and args[number - 1] in bare:
                continue
            words.append(f"{word}={STDOUT}" if word in bare else word)
        return super().parse_args(ctx, words)


def output_options(*names: str) -> Callable[[Command], Command]:
    """Give a command an option for each format."""

    def add(command: Command) -> Command:
        for name in reversed(names):
            if name not in HELP:
                raise LookupError(f"a command offers --{name}: add {name} to HELP in this module")
            command = click.option(
                f"--{name}", f"out_{name}", metavar="[=FILE]", help=f"Write {HELP[name]}."
            )(command)
        return command

    return add


def write(renders: Mapping[str, Render], given: Mapping[str, str | None]) -> None:
    """Write every format that was asked for; text on stdout when none was.

    `given` is a command's options out_NAME. Each file appears whole or not at all.
    Raises: UsageError for two formats on stdout; ToolError for a file that cannot be written.
    """
    wanted = {
        name.removeprefix("out_"): place for name, place in given.items() if place is not None
    } or {"text": STDOUT}
    if list(wanted.values()).count(STDOUT) > 1:
        raise UsageError(
            "two formats would be written to stdout", fix="name a file for one: --json=FILE"
        )
    made = {name: renders[name]() for name in wanted}
    for name, place in wanted.items():
        if place == STDOUT:
            click.echo(made[name], nl=False)
        else:
            _file(Path(place), made[name])


def _file(path: Path, text: str) -> None:
    from minbuild.records import full_disk

    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with full_disk(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(text, encoding="utf-8", newline="")
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
