"""Man pages of every command: complete, clean for mandoc, and as old as the commands' help."""

import re
from pathlib import Path

import click
import pytest

from minbuild import __version__
from minbuild.cli.commands import COMMANDS
from minbuild.cli.main import minbuild
from tests.unit.toolbox.real import toolbox
from tools import man

PAGES = Path(__file__).parents[2] / "docs" / "man"


def render(page: Path) -> str:
    """A page as mandoc shows it, in words with one blank between them."""
    options: list[str | Path] = ["-T", "ascii", "-O", "width=1000", page]
    shown = toolbox().run("mandoc", options, purpose="showing a page").decode()
    return " ".join(re.sub(".\b", "", shown).split())


def list_commands(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    """A command and those below it, each with the words that call it."""
    found = [(path, command)]
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            found += list_commands(inner, f"{path} {name}")
    return found


def test_pages_are_as_the_help_is() -> None:
    there = {path.name: path.read_text("utf-8") for path in PAGES.iterdir()}
    assert there == man.render_pages(), "docs/man is old: run `make docs`"


def test_a_page_of_a_command_that_is_gone_is_removed(tmp_path: Path) -> None:
    (tmp_path / "minbuild-gone.1").touch()
    man.write_pages(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in PAGES.iterdir()}


@pytest.mark.mirror
def test_mandoc_has_nothing_to_say() -> None:
    argv: list[str | Path] = ["-T", "lint", "-W", "all", *sorted(PAGES.iterdir())]
    assert toolbox().run("mandoc", argv, purpose="checking the pages") == b""


@pytest.mark.mirror
@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_shows_every_option_and_command_below_it(name: str) -> None:
    shown = render(PAGES / f"minbuild-{name}.1")
    for path, command in list_commands(COMMANDS[name].load(), f"minbuild {name}"):
        assert path in shown
        for option in man.list_options(command):
            assert option.help, f"{path} does not say what {option.opts[0]} is"
            words = f"{man.format_names(option)}{man.format_value(option)} "
            assert words + man.format_meaning(option) in shown


@pytest.mark.mirror
def test_the_page_of_the_program_has_commands_and_exit_codes() -> None:
    shown = render(PAGES / "minbuild.1")
    for name, entry in COMMANDS.items():
        assert f"minbuild-{name}(1) {entry.summary}" in shown
    assert "3 A manifest, or a file that it reads, that is not valid." in shown
    assert f"minbuild {__version__}" in shown


@pytest.mark.mirror
def test_text_that_roff_would_obey_is_shown_as_it_is(tmp_path: Path) -> None:
    text = ".so /etc/passwd 'quoted' \\fBbold\\fR \"a\" ~/x ^y `z` a-b --option"

    @click.command(help=f"{text}\n\n'ft B")
    @click.option("--odd", metavar="[=A\\B]", help=text)
    def odd(odd: str) -> None:
        del odd

    context = click.Context(odd, click.Context(minbuild, info_name="minbuild"), info_name="odd")
    page = tmp_path / "odd.1"
    page.write_text(man.render_page(context, ".so 'a' \\fB", []))
    assert toolbox().run("mandoc", ["-T", "lint", page], purpose="checking") == b""
    shown = render(page)
    assert shown.count(text) == 2
    assert "minbuild-odd - .so 'a' \\fB" in shown
    assert "--odd[=A\\B] " in shown
    assert "'ft B" in shown
