"""Several outputs from one run: `--text`, `--md FILE`, `--json=-`, each a file or stdout."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from minbuild.cli import completion as shell
from minbuild.cli.console import escape_for_terminal, get_terminal_width
from minbuild.errors import UsageError

FORMAT_ENDINGS: Mapping[str, tuple[str, ...]] = {
    "text": (".txt", ".text", ".log"),
    "md": (".md", ".markdown"),
    "json": (".json",),
    "csv": (".csv",),
    "html": (".html", ".htm"),
    "junit": (".xml",),
    "sarif": (".sarif", ".json"),
    "dot": (".dot", ".gv"),
}
"""How files of a format usually end, and nothing that a command reads but for `.json`."""
STDOUT = "-"
UNLIMITED = 1 << 30
"""Of words that an argument takes as many of as there are."""


@dataclass(frozen=True, slots=True)
class Arity:
    """How many words a command takes beside its options."""

    least: int
    most: int
    has_path: bool = False
    """The last one may be a path inside the image."""


@dataclass(frozen=True, slots=True)
class ParsedArguments:
    """A command line whose format options have their files after `=`."""

    arguments: tuple[str, ...]
    not_files: Mapping[str, str]
    """Words that follow a format option and are arguments all the same → the option."""


def assign_format_files(
    argv: Sequence[str], options: Mapping[str, bool], arity: Arity
) -> ParsedArguments:
    """Give each format option its file.

    `options`: each option of the command → whether it takes a value; formats are those of ENDINGS
    among them. The word after a bare format option is its file when it is `-`, when the command
    has all its arguments without it, or when it ends as files of that format do, the command does
    not lack it, and it names nothing that the command could read: no footprint that is there, no
    absolute path where a command takes a path inside the image.
    """
    formats = {f"--{name}": name for name in FORMAT_ENDINGS if f"--{name}" in options}
    roles = list(_classify_words(argv, options, formats))
    argument_count = sum(role == "argument" for _, role in roles)
    arguments: list[str] = []
    not_files: dict[str, str] = {}
    for word, role in roles:
        if role not in formats:
            arguments.append(f"{word}={STDOUT}" if role == "format" else word)
        elif word == STDOUT or _is_file(word, formats[role], argument_count, arity):
            arguments[-1] = f"{role}={word}"
        else:
            arguments.append(word)
            not_files[word] = role
            argument_count += 1
    return ParsedArguments(tuple(arguments), not_files)


def _classify_words(
    argv: Sequence[str], options: Mapping[str, bool], formats: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Each word as `format`, the format option that it follows, `argument` or `other`."""
    pending = ""
    is_over = False
    for word in argv:
        if is_over:
            yield word, "argument"
        elif word == "--":
            is_over = True
            yield word, "other"
        elif pending and pending not in formats:
            pending = ""
            yield word, "other"
        elif pending and (word == STDOUT or not word.startswith("-")):
            role, pending = pending, ""
            yield word, role
        elif word in formats:
            pending = word
            yield word, "format"
        elif word.startswith("-") and word != STDOUT:
            pending = word if options.get(word, False) else ""
            yield word, "other"
        else:
            pending = ""
            yield word, "argument"


def _is_file(word: str, name: str, argument_count: int, arity: Arity) -> bool:
    if argument_count < arity.least or word.startswith("-"):
        return False
    if argument_count >= arity.most:
        return True
    if not word.lower().endswith(FORMAT_ENDINGS[name]):
        return False
    if arity.has_path and word.startswith("/"):
        return False
    return not (word.lower().endswith(".json") and Path(word).exists())


def list_arguments(argv: Sequence[str], options: Mapping[str, bool]) -> tuple[str, ...]:
    """The words that are surely arguments: neither options, nor their values, nor after a format."""
    formats = {f"--{name}": name for name in FORMAT_ENDINGS if f"--{name}" in options}
    return tuple(
        word for word, role in _classify_words(argv, options, formats) if role == "argument"
    )


def list_options(command: click.Command) -> dict[str, bool]:
    """Each option of a command → whether it takes a value."""
    return {
        name: not (option.is_flag or option.count)
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }


def count_arguments(command: click.Command) -> Arity:
    """How many words a command's arguments take."""
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    least = sum(max(one.nargs, 1) for one in arguments if one.required)
    most = sum(one.nargs if one.nargs > 0 else UNLIMITED for one in arguments)
    return Arity(least, most)


FORMAT_HELP = {
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
Renderer = Callable[[], str]


class FormatOptionsCommand(click.Command):
    """A command whose format options may stand alone, which means stdout, or with a file.

    The file comes after `=` or a blank; `sort_words` tells it from an argument.
    """

    def find_arity(self, argv: tuple[str, ...]) -> Arity:
        """How many arguments the command takes; `words` are those that the user typed."""
        del argv
        return count_arguments(self)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        parsed = assign_format_files(args, list_options(self), self.find_arity(tuple(args)))
        ctx.meta[_ARGUMENTS_KEY] = parsed.not_files
        for word, option in parsed.not_files.items():
            if not ctx.resilient_parsing and word.endswith(".json") and Path(word).is_file():
                click.echo(
                    f"note: {word} is read, not written; to write it: {option}={word}", err=True
                )
        return super().parse_args(ctx, list(parsed.arguments))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            option = ctx.meta[_ARGUMENTS_KEY].get(error.where)
            if option and not Path(error.where).exists():
                error.fix += f"; to write it: {option}={error.where}"
            raise


_ARGUMENTS_KEY = "minbuild.left"


class PathArgumentCommand(FormatOptionsCommand):
    """A command whose arguments are [IMAGE|MANIFEST] and a path inside it."""

    def find_arity(self, argv: tuple[str, ...]) -> Arity:
        """Beside an image or a manifest a PATH that is required must not be taken for a file."""
        least = count_arguments(self).least
        first = next(iter(list_arguments(argv, list_options(self))), "")
        return Arity(2 if least and _is_image(first) else least, 2, has_path=True)


def _is_image(name: str) -> bool:
    from minbuild.pipeline.boot_setup import is_manifest_name

    return name.startswith("git:") or (bool(name) and Path(name).exists()) or is_manifest_name(name)


def output_options(*names: str) -> Callable[[Command], Command]:
    """Give a command an option for each format."""

    def add(command: Command) -> Command:
        for name in reversed(names):
            if name not in FORMAT_HELP:
                raise LookupError(f"a command offers --{name}: add {name} to HELP in this module")
            if name not in FORMAT_ENDINGS:
                raise LookupError(
                    f"--{name} has no usual ending: add it to FORMAT_ENDINGS, cli/output_options.py"
                )
            command = click.option(
                f"--{name}",
                f"out_{name}",
                metavar="[FILE]",
                shell_complete=shell.complete_files,
                help=f"Write {FORMAT_HELP[name]}.",
            )(command)
        return command

    return add


def split_targets(values: Mapping[str, Any]) -> tuple[dict[str, str | None], dict[str, Any]]:
    """A command's values, parted into those of its format options and all others."""
    targets = {name: place for name, place in values.items() if name.startswith("out_")}
    return targets, {name: value for name, value in values.items() if name not in targets}


def is_text_shown(targets: Mapping[str, str | None]) -> bool:
    """Tell whether text goes to stdout, alone or among others."""
    return targets.get("out_text") == STDOUT or not any(targets.values())


def find_text_width(targets: Mapping[str, str | None]) -> int:
    """Columns that text has: those of the terminal it goes to, 0 for no end of them."""
    return get_terminal_width() if is_text_shown(targets) else 0


def write_formats(
    renders: Mapping[str, Renderer], targets: Mapping[str, str | None], *, announce: bool = True
) -> None:
    """Write every format that was asked for; text on stdout when none was.

    `given` is a command's options out_NAME. Each file appears whole or not at all; with
    `tell` a line on stderr says so.
    Raises: UsageError for two formats on stdout; ToolError for a file that cannot be written.
    """
    files_by_format = {
        name.removeprefix("out_"): target for name, target in targets.items() if target is not None
    } or {"text": STDOUT}
    if list(files_by_format.values()).count(STDOUT) > 1:
        raise UsageError(
            "two formats would be written to stdout", fix="name a file for one: --json FILE"
        )
    texts = {name: renders[name]() for name in files_by_format}
    for name, target in files_by_format.items():
        if target == STDOUT:
            click.echo(texts[name], nl=False)
        else:
            _write_file(Path(target), texts[name])
            if announce:
                click.echo(f"wrote {escape_for_terminal(target)}", err=True)


def _write_file(path: Path, text: str) -> None:
    from minbuild.file_io import translate_disk_errors, write_atomic

    with translate_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())
