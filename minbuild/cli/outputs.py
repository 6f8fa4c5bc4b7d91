"""Several outputs from one run: `--text`, `--md FILE`, `--json=-`, each a file or stdout."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from minbuild.cli import completion as shell
from minbuild.cli.terminal import plain, width
from minbuild.cli.words import (
    ENDINGS,
    STDOUT,
    Arity,
    arguments_of,
    arity_of,
    options_of,
    sort_words,
)
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
Command = TypeVar("Command", bound=Callable[..., Any])
Render = Callable[[], str]


class Outputting(click.Command):
    """A command whose format options may stand alone, which means stdout, or with a file.

    The file comes after `=` or a blank; `sort_words` tells it from an argument.
    """

    def arity(self, words: tuple[str, ...]) -> Arity:
        """How many arguments the command takes; `words` are those that the user typed."""
        del words
        return arity_of(self)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        found = sort_words(args, options_of(self), self.arity(tuple(args)))
        ctx.meta[_LEFT] = found.left
        for word, option in found.left.items():
            if not ctx.resilient_parsing and word.endswith(".json") and Path(word).is_file():
                click.echo(
                    f"note: {word} is read, not written; to write it: {option}={word}", err=True
                )
        return super().parse_args(ctx, list(found.words))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            option = ctx.meta[_LEFT].get(error.where)
            if option and not Path(error.where).exists():
                error.fix += f"; to write it: {option}={error.where}"
            raise


_LEFT = "minbuild.left"


class Explaining(Outputting):
    """A command whose arguments are [IMAGE|MANIFEST] and a path inside it."""

    def arity(self, words: tuple[str, ...]) -> Arity:
        """Beside an image or a manifest a PATH that is required must not be taken for a file."""
        least = arity_of(self).least
        first = next(iter(arguments_of(words, options_of(self))), "")
        return Arity(2 if least and _is_image(first) else least, 2, has_path=True)


def _is_image(word: str) -> bool:
    from minbuild.build.booting import is_manifest

    return word.startswith("git:") or (bool(word) and Path(word).exists()) or is_manifest(word)


def output_options(*names: str) -> Callable[[Command], Command]:
    """Give a command an option for each format."""

    def add(command: Command) -> Command:
        for name in reversed(names):
            if name not in HELP:
                raise LookupError(f"a command offers --{name}: add {name} to HELP in this module")
            if name not in ENDINGS:
                raise LookupError(f"--{name} has no usual ending: add it to ENDINGS, cli/words.py")
            command = click.option(
                f"--{name}",
                f"out_{name}",
                metavar="[FILE]",
                shell_complete=shell.files,
                help=f"Write {HELP[name]}.",
            )(command)
        return command

    return add


def part(given: Mapping[str, Any]) -> tuple[dict[str, str | None], dict[str, Any]]:
    """A command's values, parted into those of its format options and all others."""
    mine = {name: place for name, place in given.items() if name.startswith("out_")}
    return mine, {name: value for name, value in given.items() if name not in mine}


def is_told(given: Mapping[str, str | None]) -> bool:
    """Tell whether text goes to stdout, alone or among others."""
    return given.get("out_text") == STDOUT or not any(given.values())


def room(given: Mapping[str, str | None]) -> int:
    """Columns that text has: those of the terminal it goes to, 0 for no end of them."""
    return width() if is_told(given) else 0


def write(
    renders: Mapping[str, Render], given: Mapping[str, str | None], *, tell: bool = True
) -> None:
    """Write every format that was asked for; text on stdout when none was.

    `given` is a command's options out_NAME. Each file appears whole or not at all; with
    `tell` a line on stderr says so.
    Raises: UsageError for two formats on stdout; ToolError for a file that cannot be written.
    """
    wanted = {
        name.removeprefix("out_"): place for name, place in given.items() if place is not None
    } or {"text": STDOUT}
    if list(wanted.values()).count(STDOUT) > 1:
        raise UsageError(
            "two formats would be written to stdout", fix="name a file for one: --json FILE"
        )
    made = {name: renders[name]() for name in wanted}
    for name, place in wanted.items():
        if place == STDOUT:
            click.echo(made[name], nl=False)
        else:
            _file(Path(place), made[name])
            if tell:
                click.echo(f"wrote {plain(place)}", err=True)


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
