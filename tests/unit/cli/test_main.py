"""How every run of the command ends."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from minbuild.cli.commands import COMMANDS
from minbuild.cli.console import print_error
from minbuild.cli.main import minbuild, run_command_line
from minbuild.errors import ManifestError, combine
from tests.support.patience import PATIENCE


def test_help_lists_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--help"]) == 0
    said = capsys.readouterr().out
    for name in minbuild.list_commands(click.Context(minbuild)):
        assert f"\n  {name} " in said
    assert "130 interrupted" in " ".join(said.split())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_teaches_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line([name, "--help"]) == 0
    assert "Usage: minbuild" in capsys.readouterr().out
    assert COMMANDS[name].load().get_short_help_str(200)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_is_asked_for_by_both_names_whatever_the_context(name: str) -> None:
    command = COMMANDS[name].load()
    inner = [*command.commands.values()] if isinstance(command, click.Group) else []
    for one in (minbuild, command, *inner):
        option = one.get_help_option(click.Context(one))
        assert option is not None
        assert sorted(option.opts) == ["--help", "-h"]


@pytest.mark.parametrize("argv", [["mkae"], ["make"], ["make", "x", "--nope"], ["report", "/none"]])
def test_a_command_line_that_cannot_be_exits_with_2(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(argv) == 2
    assert "rror: " in capsys.readouterr().err


def test_a_bug_shows_its_traceback_and_exits_with_70(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def broken() -> None:
        raise LookupError("a bug")

    minbuild.add_command(broken)
    try:
        assert run_command_line(["broken"]) == 70
    finally:
        del minbuild.commands["broken"]
    assert "LookupError: a bug" in capsys.readouterr().err


def test_an_error_says_what_where_and_how_to_fix_it_and_so_do_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    problems = [
        ManifestError("first is wrong", where="host.yaml:1:1", fix="mend it"),
        ManifestError("second is wrong", where="host.yaml:2:1", fix="mend that"),
    ]
    print_error(combine(problems))
    assert capsys.readouterr().err.splitlines() == [
        "error: first is wrong",
        "  where: host.yaml:1:1",
        "  fix:   mend it",
        "error: second is wrong",
        "  where: host.yaml:2:1",
        "  fix:   mend that",
    ]


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m minbuild schema | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_an_output_that_cannot_be_written_is_an_error_of_this_machine(tmp_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "minbuild", "schema", "manifest"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=PATIENCE,
        )  # fmt: skip
    assert done.returncode == 6
    assert done.stderr.startswith("error: cannot write the output: No space left on device\n")


def test_without_a_terminal_there_is_no_colour_and_no_progress(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "minbuild", "make", "nothing.yaml"],
        capture_output=True,
        cwd=tmp_path,
    )
    assert done.returncode == 3
    assert b"\x1b" not in done.stderr
    assert done.stdout == b""
