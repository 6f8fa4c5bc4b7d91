"""Which word after a format option is its file."""

import json
from pathlib import Path

import click
import pytest

from minbuild.cli.commands import COMMANDS
from minbuild.cli.format_arguments import (
    UNLIMITED,
    Arity,
    assign_format_files,
    count_arguments,
    list_options,
)
from minbuild.cli.main import run_command_line
from minbuild.cli.output_options import FormatOptionsCommand
from minbuild.footprint import document
from minbuild.report.formats import FORMATS
from tests.support.footprints import tiny

OPTIONS = {f"--{name}": True for name in FORMATS} | {
    "--baseline": True,
    "--top": True,
    "-x": False,
}
ENDINGS = {f"--{name}": one.endings for name, one in FORMATS.items()}
ONE = Arity(0, 1)
TWO = Arity(2, 2)
IN_IMAGE = Arity(1, 2, has_path=True)
CASES = {
    "alone": (ONE, "--json", "--json=-"),
    "after a blank": (ONE, "a --html out.html", "a --html=out.html"),
    "after =": (ONE, "a --html=out.html", "a --html=out.html"),
    "stdout": (ONE, "a --html -", "a --html=-"),
    "before the image": (ONE, "--html out.html a", "--html=out.html a"),
    "without an image": (ONE, "--html out.html", "--html=out.html"),
    "another ending, the image is there": (ONE, "a --html page", "a --html=page"),
    "another ending, no image": (ONE, "--html page", "--html=- page"),
    "the image after it": (ONE, "--json a", "--json=- a"),
    "an option after it": (ONE, "--json --top 3 a", "--json=- --top 3 a"),
    "a value is no argument": (ONE, "--baseline b --json o.json", "--baseline b --json=o.json"),
    "a value that looks like a format": (ONE, "--baseline --json a", "--baseline --json a"),
    "a flag has no value": (ONE, "-x a --md out", "-x a --md=out"),
    "several": (ONE, "a --md c.md --junit j.xml --json", "a --md=c.md --junit=j.xml --json=-"),
    "capitals": (ONE, "--md README.MD", "--md=README.MD"),
    "a diff": (TWO, "a b --html out.html", "a b --html=out.html"),
    "a diff first": (TWO, "--html out.html a b", "--html=out.html a b"),
    "of two footprints": (TWO, "--json a.json b.json", "--json=- a.json b.json"),
    "of three": (TWO, "a.json --json b.json c.json", "a.json --json=b.json c.json"),
    "a path in the image": (IN_IMAGE, "a --json /etc/x.json", "a --json=- /etc/x.json"),
    "the only path": (IN_IMAGE, "--json /etc/x.json", "--json=- /etc/x.json"),
    "a file beside both": (IN_IMAGE, "a /bin/x --json /t/o.json", "a /bin/x --json=/t/o.json"),
    "after --": (ONE, "--json -- out.json", "--json=- -- out.json"),
    "many": (Arity(0, UNLIMITED), "a.yaml b.yaml --json o.json", "a.yaml b.yaml --json=o.json"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_word_after_a_format_is_its_file_or_an_argument(case: str, tmp_path: Path) -> None:
    arity, typed, meant = CASES[case]
    assert " ".join(assign_format_files(typed.split(), OPTIONS, ENDINGS, arity).arguments) == meant


def test_a_footprint_that_is_there_is_read_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "old.json"
    place.write_text(document.render_footprint(tiny()))
    before = place.read_bytes()
    assert run_command_line(["report", "--json", "old.json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["schema"] == "minbuild.footprint/1"
    assert "note: old.json is read, not written; to write it: --json=old.json" in err
    assert place.read_bytes() == before
    assert run_command_line(["report", "old.json", "--json", "new.json"]) == 0
    assert (tmp_path / "new.json").read_text() == out
    assert run_command_line(["report", "--html", "page.html", "old.json"]) == 0
    assert (tmp_path / "page.html").read_text().startswith("<!")


def test_a_word_that_is_no_image_tells_how_to_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command_line(["report", "--html", "page"]) == 2
    assert "to write it: --html=page" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    "name", ["make", "plan", "report", "check", "diff", "why", "tree", "check-tree", "verify"]
)
def test_every_command_with_formats_takes_their_files_after_a_blank(
    name: str, tmp_path: Path
) -> None:
    command = COMMANDS[name].load()
    assert isinstance(command, FormatOptionsCommand)
    options = list_options(command)
    formats = [one for one in FORMATS if f"--{one}" in options]
    assert "json" in formats
    assert "text" in formats
    words = [str(tmp_path)] * min(count_arguments(command).most, 2)
    for one in formats:
        file = f"out{FORMATS[one].endings[0]}"
        typed = [*words, f"--{one}", file]
        context = click.Context(command)
        command.parse_args(context, typed)
        assert context.params["targets"][one] == file


def test_why_and_tree_write_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "footprint.json").write_text(document.render_footprint(tiny()))
    assert run_command_line(["why", "a", "/usr/bin/vm", "--dot", "why.gv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == "/usr/bin/vm"
    assert (tmp_path / "why.gv").read_text().startswith("digraph why {")
    assert run_command_line(["tree", "a", "--json", "tree.json"]) == 0
    assert json.loads((tmp_path / "tree.json").read_text())["schema"] == "minbuild.tree/1"
    assert capsys.readouterr().out == ""
