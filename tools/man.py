"""Man pages of the commands, from the same help as docs/reference/options.md: `make docs`.

Source: man(7), groff_man_style(7), man-pages(7).
"""

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from minbuild import __version__
from minbuild.cli.commands import COMMAND_GROUPS
from minbuild.cli.main import EXIT_BUG, EXIT_INTERRUPTED, minbuild
from minbuild.errors import MinbuildError

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
MANUAL = "minbuild manual"
WIDTH = 78


def write_pages(directory: Path) -> None:
    """Write all pages, and remove those of commands that are gone."""
    directory.mkdir(exist_ok=True)
    pages = render_pages()
    for path in directory.glob("*.1"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (directory / name).write_text(text, encoding="utf-8")


def render_pages() -> Mapping[str, str]:
    """File name of each page → its text: one of the program, one of each command in the table.

    The commands of a group (`store gc`) are sections of its page.
    """
    root = click.Context(minbuild, info_name="minbuild")
    pages = {"minbuild.1": "\n".join([*_program_page(root), ""])}
    for rows in COMMAND_GROUPS.values():
        for name, entry in rows.items():
            context = click.Context(entry.load(), root, info_name=name)
            related = [other for other in rows if other != name]
            pages[f"minbuild-{name}.1"] = render_page(context, entry.summary, related)
    return pages


def _program_page(context: click.Context) -> Iterator[str]:
    yield from _head("minbuild", "build the smallest Linux host that runs virtual machines")
    yield from (".SH SYNOPSIS", r"\fBminbuild\fR [\fIOPTIONS\fR] \fICOMMAND\fR \fIARGUMENTS\fR")
    yield ".SH DESCRIPTION"
    yield from _paragraphs(context.command)
    yield ".SH COMMANDS"
    for heading, rows in COMMAND_GROUPS.items():
        yield f'.SS "{_escape(heading)}"'
        for name, entry in rows.items():
            yield from (".TP", rf"\fBminbuild\-{_escape(name)}\fR(1)", *_wrap(entry.summary))
    yield from _options_section(context.command)
    yield from _exit_status()


def render_page(context: click.Context, summary: str, related: Sequence[str]) -> str:
    """The page of a command; `related`: commands that it names below SEE ALSO."""
    return "\n".join([*_command_page(context, summary, related), ""])


def _command_page(context: click.Context, summary: str, related: Sequence[str]) -> Iterator[str]:
    command = context.command
    yield from _head(context.command_path.replace(" ", "-"), summary)
    yield from (".SH SYNOPSIS", _usage(context))
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command)
    if isinstance(command, click.Group):
        yield ".SH COMMANDS"
        for name in command.list_commands(context):
            inner = click.Context(command.commands[name], context, info_name=name)
            yield from (f'.SS "{_escape(inner.command_path)}"', _usage(inner), ".PP")
            yield from _paragraphs(inner.command)
            yield from _options(inner.command)
    yield from _options_section(command)
    yield ".SH SEE ALSO"
    names = ["minbuild", *(f"minbuild-{name}" for name in related)]
    yield ",\n".join(rf"\fB{_escape(name)}\fR(1)" for name in names)


def _head(name: str, summary: str) -> Iterator[str]:
    yield f'.TH {name.upper()} 1 {find_release_date()} "minbuild {__version__}" "{MANUAL}"'
    yield from (".SH NAME", rf"{_escape(name)} \- {_escape(summary)}")


def find_release_date() -> str:
    """The day of this version's section in CHANGELOG.md: the pages have the same bytes each day."""
    pattern = rf"^## {re.escape(__version__)} - (\d{{4}}-\d{{2}}-\d{{2}})$"
    found = re.search(pattern, CHANGELOG.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise LookupError(f"CHANGELOG.md has no section of {__version__} with its day")
    return found[1]


def _usage(context: click.Context) -> str:
    words = [rf"\fB{_escape(context.command_path)}\fR"]
    if list_options(context.command):
        words.append(r"[\fIOPTIONS\fR]")
    arguments = (one for one in context.command.params if isinstance(one, click.Argument))
    words += [_escape(one.make_metavar(context)) for one in arguments]
    if isinstance(context.command, click.Group):
        words.append(r"\fICOMMAND\fR")
    return " ".join(words)


def _paragraphs(command: click.Command) -> Iterator[str]:
    for number, paragraph in enumerate(inspect.cleandoc(command.help or "").split("\n\n")):
        if number:
            yield ".PP"
        yield from _wrap(" ".join(paragraph.split()))


def _options_section(command: click.Command) -> Iterator[str]:
    if list_options(command):
        yield from (".SH OPTIONS", *_options(command))


def _options(command: click.Command) -> Iterator[str]:
    for one in list_options(command):
        names = ", ".join(rf"\fB{_escape(name)}\fR" for name in format_names(one).split(", "))
        value = format_value(one)
        typed = re.sub(r"[A-Z=/]{2,}", lambda found: rf"\fI{found[0]}\fR", _escape(value))
        yield from (".TP", names + typed, *_wrap(format_meaning(one)))


def _exit_status() -> Iterator[str]:
    meanings = {0: "The command did what it was asked to."}
    for one in MinbuildError.__subclasses__():
        if one.__module__ == MinbuildError.__module__:
            meanings[one.exit_code] = inspect.getdoc(one) or ""
    meanings |= {EXIT_BUG: "A bug in minbuild, with a traceback.",
                 EXIT_INTERRUPTED: "Interrupted; nothing half-written is left."}  # fmt: skip
    yield ".SH EXIT STATUS"
    for code, meaning in sorted(meanings.items()):
        yield from (".TP", rf"\fB{code}\fR", *_wrap(meaning))


def list_options(command: click.Command) -> list[click.Option]:
    """The options that the help of a command shows, except `--help`."""
    return [one for one in command.params if isinstance(one, click.Option) and not one.hidden]


def format_names(option: click.Option) -> str:
    """`-o, --output`: the names of an option, short ones first."""
    return ", ".join(sorted((*option.opts, *option.secondary_opts), key=len))


def format_value(option: click.Option) -> str:
    """` FILE` or `[=FILE]`: what follows the name of an option; "" for a flag.

    Written here, since click's own form differs between its releases.
    """
    if option.is_flag or option.count:
        return ""
    kind = option.type
    choices = kind.choices if isinstance(kind, click.Choice) else ()
    value = option.metavar or "|".join(map(str, choices)) or kind.name.upper()
    return f"{'' if value.startswith('[=') else ' '}{value}"


def format_meaning(option: click.Option) -> str:
    """The help of an option on one line, with its default."""
    text = " ".join((option.help or "").split())
    shown = option.show_default and option.default is not None and not option.is_flag
    return f"{text} [default: {option.default}]".strip() if shown else text


def _wrap(text: str) -> list[str]:
    """Text as lines of a page, none of which roff takes for a request."""
    lines = textwrap.wrap(_escape(text), WIDTH, break_long_words=False, break_on_hyphens=False)
    return [rf"\&{line}" if line.startswith((".", "'")) else line for line in lines]


def _escape(text: str) -> str:
    """Characters that roff would not print as they are. Source: groff_char(7)."""
    names = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}  # fmt: skip
    return "".join(names.get(one, one) for one in text)
