"""Defaults from the config file: precedence, errors, and what `minbuild config` shows."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.cli.console import OUTPUT
from minbuild.cli.main import run_command_line
from minbuild.cli.settings import quote_toml
from minbuild.config import SETTINGS, load_config

VARIABLES = [setting.variable for setting in SETTINGS if setting.variable]


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in VARIABLES:
        # set, then unset: what a run adds to the environment is taken away after the test
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "minbuild" / "config.toml"
    file.parent.mkdir()
    return file


def read_settings(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, tuple[str, str]]:
    """Setting → value and where it comes from."""
    assert run_command_line(["config", "--json", *words]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "minbuild.config/1"
    return {row["name"]: (row["value"], row["from"]) for row in document["settings"]}


def test_each_value_names_where_it_comes_from(
    config_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file.write_text('mirror = "http://MIRROR/debian"\ntimeout = 60\n[make]\njobs = 2\n')
    monkeypatch.setenv("MINBUILD_ACCEL", "tcg")
    settings = read_settings(capsys)
    assert settings["mirror"] == ("http://MIRROR/debian", str(config_file))
    assert settings["timeout"] == ("60", str(config_file))
    assert settings["accel"] == ("tcg", "MINBUILD_ACCEL")
    assert settings["sandbox"] == ("auto", "default")
    assert settings["make.jobs"] == ("2", str(config_file))
    assert "make.top" not in settings
    assert read_settings(capsys, "--all")["make.top"] == ("10", "default")


def test_one_setting_is_printed_alone(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_file.write_text("[store.gc]\ndays = 7\n")
    assert run_command_line(["config", "store.gc.days"]) == 0
    assert capsys.readouterr().out == "7\n"
    assert run_command_line(["config", "store.gc.day"]) == 2
    assert "did you mean store.gc.days?" in capsys.readouterr().err


def test_an_environment_variable_wins_over_the_file(
    config_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file.write_text('accel = "kvm"\n')
    monkeypatch.setenv("MINBUILD_ACCEL", "tcg")
    assert read_settings(capsys)["accel"] == ("tcg", "MINBUILD_ACCEL")


def test_the_file_gives_options_their_defaults_and_the_command_line_wins(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "edge.yaml"
    config_file.write_text('[init]\nfrom = "edge"\n')
    assert run_command_line(["init", "-"]) == 0
    assert "name: edge" in capsys.readouterr().out
    assert run_command_line(["init", "--from", "debug", "-"]) == 0
    assert "name: debug" in capsys.readouterr().out
    assert not written.exists()


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("[mke]\n", "unknown key in the config file: mke", "did you mean make?"),
        ("[make]\njbos = 2\n", "unknown key in the config file: make.jbos", "did you mean make.jobs?"),
        ("[make]\njobs = 'many'\n", "make.jobs in the config file cannot be 'many': 'many' is not a valid integer.", "see minbuild make --help"),
    ],
)  # fmt: skip
def test_a_table_is_held_against_the_command(
    text: str, what: str, fix: str, config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_file.write_text(text)
    assert run_command_line(["make", "host"]) == 4
    assert capsys.readouterr().err.splitlines() == [
        f"error: {what}", f"  where: {config_file}", f"  fix:   {fix}",
    ]  # fmt: skip


def test_the_help_is_shown_with_a_broken_file(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_file.write_text("miror = 1")
    assert run_command_line(["--help"]) == 0
    assert run_command_line(["schema"]) == 4
    assert "did you mean mirror?" in capsys.readouterr().err


def test_the_template_is_read_back_and_changes_nothing(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_settings(capsys, "--all")
    assert run_command_line(["config", "--template"]) == 0
    template = capsys.readouterr().out
    config_file.write_text(template)
    assert not load_config(config_file).values, "all of it are comments"
    config_file.write_text(re.sub(r"(?m)^# (?=\[|[a-z-]+ = )", "", template))
    after = read_settings(capsys, "--all")
    assert {name: value for name, (value, _) in before.items()} == {
        name: value for name, (value, _) in after.items()
    }
    changed = {name for name in after if after[name] != before[name]}
    assert {"offline", "trusted", "make.jobs", "store.gc.days", "boot.timeout"} <= changed


def test_the_template_has_a_valid_line_of_every_key(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["config", "--template"]) == 0
    template = capsys.readouterr().out
    document = tomllib.loads(re.sub(r"(?m)^##? (?=\[|[a-z-]+ = )", "", template))
    keys = set(_list_keys(document)) - {"store.directory"} | {"store"}
    assert keys == set(read_settings(capsys, "--all"))


def _list_keys(table: dict[str, object], above: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _list_keys(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_quoted_value_is_read_back(text: str) -> None:
    assert tomllib.loads(f"key = {quote_toml(text)}") == {"key": text}


def test_paths_of_a_table_may_begin_at_home(
    config_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(config_file.parent))
    config_file.write_text('[make]\noutput = "~/out"\nset = ["a=~/b"]\n[check]\nbaseline = "~/f"\n')
    settings = read_settings(capsys)
    assert settings["make.output"][0] == f"{config_file.parent}/out"
    assert settings["check.baseline"][0] == f"{config_file.parent}/f"
    assert "~/b" in settings["make.set"][0]


def test_a_wrong_log_is_told_where_it_stands(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_file.write_text('log = "loud"\n')
    assert run_command_line(["schema"]) == 2
    assert capsys.readouterr().err.startswith(
        f"error: loud is neither a level nor a file\n  where: log in {config_file}\n"
    )
    config_file.write_text(f'log = "{config_file.parent}/none/x.log"\n')
    assert run_command_line(["store", "size", "--store", str(config_file.parent / "s")]) == 2
    assert f"  where: log in {config_file}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "colour", "verbosity"),
    [
        (["schema"], "always", 2),
        (["--color", "auto", "schema"], "auto", 2),
        (["schema", "--color", "auto"], "auto", 2),
        (["-v", "schema"], "always", 1),
        (["-q", "schema"], "always", -1),
    ],
)
def test_what_the_command_line_says_wins_over_the_file(
    words: list[str], colour: str, verbosity: int, config_file: Path
) -> None:
    config_file.write_text('color = "always"\nlog = "debug"\n')
    assert run_command_line(words) == 0
    assert (OUTPUT.colour, OUTPUT.verbosity) == (colour, verbosity)


def test_every_table_is_held_against_its_command(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_file.write_text("[boot]\ntimeuot = 1\n[store.gc]\ndays = 1\n")
    assert run_command_line(["schema"]) == 0, "other commands do not load all"
    for words in (["config"], ["boot", "host"]):
        assert run_command_line(words) == 4
        assert "did you mean boot.timeout?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["store", "--all"], ["--template", "--json"], ["--template", "--all"], ["make.jobs", "--template"]]
)  # fmt: skip
def test_options_of_which_one_would_do_nothing_are_refused(
    words: list[str], config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["config", *words]) == 2
    assert "do not go together" in capsys.readouterr().err


def test_one_setting_loads_its_own_command_alone() -> None:
    script = (
        "import sys; from minbuild.cli.main import run_command_line; "
        "code = run_command_line(['config', 'make.jobs']); "
        "print(code, *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "XDG_CONFIG_HOME": "/nonexistent"},
    )  # fmt: skip
    code, *modules = done.stderr.split()
    assert code == "0"
    assert "minbuild.cli.make" in modules
    assert not {"minbuild.cli.boot", "minbuild.cli.ship", "minbuild.cli.dib"} & set(modules)


def test_options_win_over_the_colour_and_level_of_the_file(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_file.write_text('log = "quiet"\ncolor = "always"\n')
    assert run_command_line(["components", "--color", "never"]) == 0
    assert "\x1b" not in capsys.readouterr().out
