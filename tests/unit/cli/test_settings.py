"""Defaults from the config file: precedence, errors, and what `minbuild config` shows."""

import json
from pathlib import Path

import pytest

from minbuild.cli.main import run_command_line
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


def test_the_template_is_a_config_file_with_every_key(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["config", "--template"]) == 0
    template = capsys.readouterr().out
    config_file.write_text(template)
    assert not load_config(config_file).values, "all of it are comments"
    for setting in SETTINGS:
        assert f"\n# {setting.name} = " in template
    assert "\n# [make]\n" in template
    assert "\n# jobs = 0  # " in template
    config_file.write_text(template.replace("# accel =", "accel =", 1)
                           .replace("# [make]", "[make]").replace("# jobs =", "jobs ="))  # fmt: skip
    assert read_settings(capsys)["make.jobs"] == ("0", str(config_file))


def test_options_win_over_the_colour_and_level_of_the_file(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_file.write_text('log = "quiet"\ncolor = "always"\n')
    assert run_command_line(["components", "--color", "never"]) == 0
    assert "\x1b" not in capsys.readouterr().out
