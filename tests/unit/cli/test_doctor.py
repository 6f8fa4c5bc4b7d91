"""What `minbuild doctor` finds out, and how it says so."""

import json
from pathlib import Path

import pytest

from minbuild.cli.machine import render_check, summarize_checks
from minbuild.cli.main import run_command_line
from minbuild.config import SETTINGS
from minbuild.pipeline.machine_checks import CheckState, MachineCheck, suggest_namespaces
from tests.support.cache import cache_directory


@pytest.fixture(autouse=True)
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No config file but that of the test, which has no say in later ones."""
    for setting in SETTINGS:
        if setting.variable:  # set, then unset: what a run adds is taken away after the test
            monkeypatch.setenv(setting.variable, "")
            monkeypatch.delenv(setting.variable)
    monkeypatch.setenv("MINBUILD_TIMEOUT", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config/minbuild").mkdir(parents=True)
    return tmp_path / "config/minbuild/config.toml"


SOUND = MachineCheck("keys", CheckState.OK, "all are valid")
SLOW = MachineCheck("kvm", CheckState.LIMITED, "there is no /dev/kvm", "load kvm_intel")
BROKEN = MachineCheck("mirror", CheckState.FAILED, "no mirror", "name one: --mirror URL")


def test_without_a_mirror_the_machine_is_not_ready(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--store", str(tmp_path / "store"), "--mirror", (tmp_path / "none").as_uri()]
    assert run_command_line(["doctor", "--json", *words]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "minbuild.doctor/1"
    assert document["ok"] is False
    states = {check["name"]: check["state"] for check in document["checks"]}
    assert states["mirror"] == states["qemu"] == "failed"
    assert states["store"] == states["keys"] == "ok"
    assert all(check["fix"] for check in document["checks"] if check["state"] == "failed")


def test_a_store_that_cannot_be_made_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = ["--store", f"{tmp_path}/file/store", "--mirror", (tmp_path / "none").as_uri()]
    assert run_command_line(["doctor", "--json", *words]) == 1
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["store"]["state"] == "failed"


@pytest.mark.parametrize(
    ("text", "finding", "fix"),
    [
        ("miror = 1", "unknown key in the config file: miror", "did you mean mirror?"),
        ("[bot]", "unknown key in the config file: bot", "did you mean boot?"),
        ("[boot]\ntimeuot = 3", "unknown key in the config file: boot.timeuot",
         "did you mean boot.timeout?"),
        ("[doctor]\nmiror = 3", "unknown key in the config file: doctor.miror", ""),
        ('log = "loud"', "loud is neither a level nor a file", "write one of quiet"),
    ],
)  # fmt: skip
def test_a_broken_config_file_is_one_of_the_findings(
    text: str, finding: str, fix: str, config_home: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    config_home.write_text(text)
    words = ["--store", str(tmp_path / "store"), "--mirror", (tmp_path / "none").as_uri()]
    assert run_command_line(["doctor", *words]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith(f"failed   config      {finding}")
    assert f"→ {fix}" in shown


def test_the_store_of_the_config_file_is_the_one_that_is_looked_at(
    config_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = (tmp_path / "none").as_uri()
    config_home.write_text(f'mirror = "{mirror}"\n[store]\ndirectory = "{tmp_path}/mine"\n')
    assert run_command_line(["doctor", "--json"]) == 1
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["config"] == {
        "name": "config", "state": "ok", "finding": str(config_home), "fix": "",
    }  # fmt: skip
    assert checks["store"]["finding"].startswith(f"{tmp_path}/mine")


@pytest.mark.parametrize(
    ("checks", "sentence"),
    [
        ([SOUND], "ready"),
        ([SOUND, SLOW], "ready; limited: kvm"),
        ([SOUND, SLOW, BROKEN], "not ready: mirror"),
    ],
)
def test_the_last_line_is_the_verdict(checks: list[MachineCheck], sentence: str) -> None:
    assert summarize_checks(checks) == sentence


def test_a_check_fits_the_terminal() -> None:
    check = MachineCheck("kvm", CheckState.LIMITED, "there is no " + "KVM " * 30, "load it " * 20)
    lines = render_check(check, 80).splitlines()
    assert all(len(line) <= 80 + len("\x1b[33m\x1b[0m") for line in lines)
    assert all(line.startswith(" " * 21) for line in lines[1:])
    assert sum("→" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"kernel.unprivileged_userns_clone": "0"}, "sysctl -w kernel.unprivileged_userns_clone=1"),
        ({"kernel.apparmor_restrict_unprivileged_userns": "1"},
         "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        ({}, "in a container"),
    ],
)  # fmt: skip
def test_the_setting_that_forbids_namespaces_is_named(
    settings: dict[str, str], expected: str
) -> None:
    assert expected in suggest_namespaces(lambda name: settings.get(name, ""))


@pytest.mark.mirror
def test_the_verdict_is_that_of_the_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MINBUILD_TIMEOUT")
    store = str(cache_directory("doctor"))
    code = run_command_line(["doctor", "--json", "--store", store])
    document = json.loads(capsys.readouterr().out)
    states = {check["name"]: check["state"] for check in document["checks"]}
    assert states["config"] == states["keys"] == states["store"] == states["mirror"] == "ok"
    assert document["ok"] is (code == 0) is ("failed" not in states.values())
    qemu = next(check for check in document["checks"] if check["name"] == "qemu")
    assert qemu["finding"].startswith("QEMU emulator version")
