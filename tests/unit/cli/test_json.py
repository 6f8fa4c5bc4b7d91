"""JSON of every command: each offers it, and each document names its schema with a version."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from minbuild.cli.commands import COMMANDS
from minbuild.cli.main import run_command_line

WITHOUT = {
    "schema": "prints JSON only",
    "sbom": "writes CycloneDX and SPDX, which are JSON",
    "completion": "prints a script for a shell",
    "elements": "prints one path",
    "tool": "becomes the tool; `tool list --json` lists them",
    "history append": "writes a line of JSON",
}
COMMANDS_MD = Path(__file__).parents[3] / "docs/reference/commands.md"


def walk(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for sub, child in command.commands.items():
            yield from walk(child, f"{name} {sub}")
    else:
        yield name, command


ALL = [pair for name, entry in COMMANDS.items() for pair in walk(entry.load(), name)]


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_command_offers_json(name: str, command: click.Command) -> None:
    has_json = any("--json" in option.opts for option in command.params)
    assert has_json is (name not in WITHOUT)


@pytest.mark.parametrize(
    ("words", "schema"),
    [
        (["tool", "list", "--json"], "minbuild.tools/1"),
        (["hardware", "--json"], "minbuild.hardware/1"),
        (["components", "ssh", "--json"], "minbuild.component/1"),
        (["init", "x.yaml", "--json"], "minbuild.init/1"),
        (["store", "size", "--json", "--store", "store"], "minbuild.store-size/1"),
        (["store", "forget-kvm", "--json", "--store", "store"], "minbuild.store-forget-kvm/1"),
        (["config", "--json"], "minbuild.config/1"),
        (["guest", "guest.yaml", "--json"], "minbuild.guest/1"),
    ],
)
def test_a_document_names_its_schema(
    words: list[str], schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("guest.yaml").write_text("disks: [guest.yaml]\n")
    assert run_command_line(words) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == schema


def test_rows_of_a_list_name_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["components", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["schema"] for row in rows} == {"minbuild.component-summary/1"}


def test_every_schema_is_listed_in_the_reference() -> None:
    page = COMMANDS_MD.read_text(encoding="utf-8")
    source = Path(__file__).parents[3] / "minbuild"
    texts = "".join(path.read_text(encoding="utf-8") for path in source.rglob("*.py"))
    written = set(re.findall(r'"(minbuild\.[a-z-]+/\d+)"', texts))
    written |= {f"minbuild.{name}/1" for name in re.findall(r'render_json\(\s*"([a-z-]+)"', texts)}
    assert len(written) > 25
    assert {schema for schema in written if f"`{schema}`" not in page} == set()


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["--format", "json=a.json"], {"a.json"}),
        (["--format", "json=a.json", "--format", "text=b.txt"], {"a.json", "b.txt"}),
        (["--format=json=a.json"], {"a.json"}),
        (["--json", "a.json"], {"a.json"}),
        (["--json=a.json", "--text"], {"a.json"}),
    ],
)
def test_a_format_is_asked_for_by_its_name(
    words: list[str], files: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    (tmp_path / "root/usr/bin/x").write_text("#!/usr/bin/y\n")
    (tmp_path / "root/usr/bin/x").chmod(0o755)
    (tmp_path / "root/usr/bin/y").touch()
    assert run_command_line(["check-tree", "root", "--store", "store", *words]) == 0
    assert {path.name for path in tmp_path.iterdir()} - {"root", "store"} == files


@pytest.mark.parametrize(
    ("words", "what", "fix"),
    [
        (["--format", "jsn"], "there is no format jsn here", "did you mean json?"),
        (["--format", "json", "--json=a"], "the format json is asked for twice", "ask once for it"),
    ],
)
def test_a_format_that_cannot_be_is_refused(
    words: list[str], what: str, fix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["check-tree", str(tmp_path), *words]) == 2
    said = capsys.readouterr().err
    assert f"error: {what}" in said
    assert f"fix:   {fix}" in said
