"""`minbuild add` and `minbuild remove`: the manifest that they write, and what they refuse."""

import json
from pathlib import Path

import pytest

from minbuild.cli.main import run_command_line
from minbuild.manifest.loader import read_manifest

RACK = """\
minbuild: 1        # the format
name: rack
extends: [host]
vars:
  hostname: rack   # its name
services:
  use:             # what runs
    - ssh          # for us
keep:
  - {package: pciutils, paths: [/usr/bin/lspci]}
"""


@pytest.fixture
def rack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "rack.yaml"
    path.write_text(RACK)
    path.chmod(0o640)
    return path


def components_of(path: Path) -> set[str]:
    manifest = read_manifest(path, settings={}, components=[])
    return {component.name for component in manifest.components}


def edit(*words: str) -> None:
    assert run_command_line([*words]) == 0


def test_a_component_is_added_beside_those_that_are_there(rack: Path) -> None:
    edit("add", "watchdog", "network/vlan")
    assert rack.read_text() == RACK.replace(
        "    - ssh          # for us\n", "    - ssh          # for us\n    - watchdog\n"
    ).replace("services:\n", "network:\n  use: [vlan]\nservices:\n")
    assert {"services/watchdog", "network/vlan"} <= components_of(rack)
    assert rack.stat().st_mode & 0o777 == 0o640


def test_what_was_added_is_removed_again(rack: Path) -> None:
    edit("add", "watchdog")
    edit("remove", "watchdog")
    assert rack.read_text() == RACK


def test_an_inherited_component_is_removed_and_comes_back(rack: Path) -> None:
    edit("remove", "time")
    assert "services/time" not in components_of(rack)
    assert "services/ssh" in components_of(rack)
    edit("add", "services/time")
    assert "services/time" in components_of(rack)
    assert "# for us" in rack.read_text()


def test_static_takes_the_place_of_dhcp(rack: Path) -> None:
    edit("add", "static", "--set", "address=192.0.2.7/24")
    edit("remove", "network/dhcp")
    assert "network/dhcp" not in components_of(rack)
    assert "  use: {add: [static], remove: [dhcp]}" in rack.read_text()
    assert "  address: 192.0.2.7/24\n" in rack.read_text()


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("pciutils/setpci", '  - {package: pciutils, paths: [/usr/bin/lspci, "/usr/*bin/setpci"]}'),
        ("htop/usr/bin/htop", "  - {package: htop, paths: [/usr/bin/htop]}"),
        ("htop:/usr/bin/htop", "  - {package: htop, paths: [/usr/bin/htop]}"),
    ],
)
def test_files_of_packages_are_kept_and_dropped(word: str, line: str, rack: Path) -> None:
    edit("add", word)
    assert line in rack.read_text().splitlines()
    edit("remove", word)
    assert rack.read_text() == RACK


def test_nothing_is_written_twice(rack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit("add", "ssh", "dhcp", "pciutils/usr/bin/lspci", "--json")
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "schema": "minbuild.edit/1", "manifest": "rack.yaml", "changed": False, "written": False,
        "done": ["services/ssh is used already", "network/dhcp is used already",
                 "/usr/bin/lspci of pciutils is kept already"],
    }  # fmt: skip
    assert rack.read_text() == RACK


def test_a_dry_run_shows_the_change(rack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit("add", "watchdog", "--dry-run")
    assert "\n+    - watchdog\n" in capsys.readouterr().out
    assert rack.read_text() == RACK


@pytest.mark.parametrize(
    ("words", "code", "what", "fix"),
    [
        (["add", "sshd"], 2, "there is no component sshd", "did you mean ssh?"),
        (["add", "servces/ssh"], 2, "there is no component servces/ssh", "did you mean services/ssh?"),
        (["remove", "shh"], 2, "the manifest does not use shh", "did you mean ssh?"),
        (["remove", "watchdog"], 2, "the manifest does not use watchdog", "it uses "),
        (["remove", "init"], 2, "boot/init stays: filesystem/ext4, ", "remove filesystem/ext4, "),
        (["remove", "accounts"], 2, "accounts stays: services/time, services/ssh need it",
         "remove services/time, services/ssh as well, or keep accounts"),
        (["remove", "pciutils/lspcii"], 2, "the manifest does not keep /usr/*bin/lspcii of pciutils",
         "did you mean pciutils/usr/bin/lspci?"),
        (["add", "/usr/bin/lspci"], 2, "/usr/bin/lspci names no package", "write PACKAGE/usr/bin/lspci"),
        (["add", "vlan", "--set", "hostnam=x"], 3, "no variable is named 'hostnam'",
         "did you mean hostname?"),
        (["add", "ssh", "--set", "ssh_port=x"], 3, "ssh_port is a whole number, but 'x' is not",
         "write it like --set 'ssh_port=5'"),
        (["add", "ssh", "--set", "ssh_keys=[a"], 3, "ssh_keys is a list of texts, but '[a' is not",
         "write it like --set 'ssh_keys=[a, b]'"),
        (["add", "ssh", "-m", "edge"], 2, "this manifest ships with minbuild and is not edited",
         "start one of your own from it: minbuild init --from edge my-host.yaml"),
        (["add", "ssh", "-m", "none.yaml"], 2, "no such manifest", "write one: minbuild init"),
    ],
)  # fmt: skip
def test_what_would_not_build_is_refused_and_nothing_is_written(
    words: list[str], code: int, what: str, fix: str, rack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(words) == code
    said = capsys.readouterr().err
    assert f"error: {what}" in said
    assert f"  fix:   {fix}" in said
    assert rack.read_text() == RACK


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("hostname=7", '  hostname: "7"   # its name'),
        ("hostname=true", '  hostname: "true"   # its name'),
        ("hostname={{ name }}", '  hostname: "{{ name }}"   # its name'),
        ("ssh_port=2222", "  ssh_port: 2222"),
        ("nameservers=['192.0.2.1', 192.0.2.2]", "  nameservers: [192.0.2.1, 192.0.2.2]"),
    ],
)
def test_a_value_has_the_type_of_its_variable(setting: str, line: str, rack: Path) -> None:
    edit("add", "ssh", "static", "--set", "address=192.0.2.7/24", "--set", setting)
    assert line in rack.read_text().splitlines()


def test_a_value_that_is_no_yaml_is_an_error(
    rack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["add", "ssh", "--set", "hostname=[a"]) == 3
    assert "write it like --set 'hostname=\"[a\"'" in capsys.readouterr().err
    assert rack.read_text() == RACK


def test_a_removed_component_that_another_one_needs_is_an_error(
    rack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rack.write_text(RACK.replace("    - ssh ", "    - accounts\n    - ssh "))
    assert run_command_line(["remove", "accounts"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: services/accounts stays: services/time, services/ssh need it\n"
    )
    assert "- accounts" in rack.read_text()


def test_both_are_removed_in_any_order(rack: Path) -> None:
    rack.write_text(RACK.replace("    - ssh ", "    - accounts\n    - ssh "))
    edit("remove", "services/accounts", "ssh", "time")
    assert not {"services/accounts", "services/ssh"} & components_of(rack)


def test_problems_that_were_there_do_not_stop_an_edit(rack: Path) -> None:
    rack.write_text(RACK.replace("name: rack", "name: rack\nsumary: x", 1))
    edit("add", "watchdog")
    assert "- watchdog" in rack.read_text()


def test_one_of_several_manifests_is_named(rack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rack.with_name("other.yaml").write_text("minbuild: 1\nextends: [host]\n")
    assert run_command_line(["add", "ssh"]) == 2
    assert "there are several manifests: other.yaml, rack.yaml" in capsys.readouterr().err
    edit("add", "ssh", "--manifest", "other.yaml")
    assert rack.with_name("other.yaml").read_text().endswith("services:\n  use: [ssh]\n")


def test_a_lock_beside_it_is_named(rack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rack.with_suffix(".lock").write_text("")
    edit("add", "watchdog")
    assert "minbuild lock rack.yaml" in capsys.readouterr().out
