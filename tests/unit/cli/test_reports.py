"""report, diff, check and history as a user types them."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from minbuild.cli.main import run_command_line
from minbuild.footprint import document
from minbuild.footprint.model import FindingKind, Surface, SurfaceFinding
from minbuild.paths import RootPath
from tests.support.footprint_variants import change_footprint, find_row
from tests.support.footprints import tiny

SURFACE = Surface((SurfaceFinding(FindingKind.SETUID, "/usr/bin/vm", "mode 4755"),))
BUDGET = "minbuild-budget: 1\ntotals: {files: 3, bytes: 9 MB}\nsurface: {setuid: 0}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two builds, a and b; b has a larger /usr/bin/vm and one setuid program."""
    monkeypatch.chdir(tmp_path)
    new = replace(find_row("/usr/bin/vm"), size=5_000, sha256="e" * 64)
    builds = {
        "a": replace(tiny(), surface=Surface()),
        "b": replace(change_footprint([new]), surface=SURFACE, budget={"files": 3}),
    }
    for name, footprint in builds.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "footprint.json").write_text(document.render_footprint(footprint))
    (tmp_path / "budget.yaml").write_text(BUDGET)
    return tmp_path


def test_several_formats_are_written_in_one_run(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--text=r.txt", "--md=r.md", "--csv=r.csv", "--html=r.html", "--dot=r.dot"]
    assert (
        run_command_line(["report", "a", "--json", *words, "--junit=j.xml", "--sarif=s.sarif"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["schema"] == "minbuild.footprint/1"
    assert (here / "r.csv").read_bytes().startswith(b"section,files,bytes,packed_est,added\r\n")
    assert (here / "r.md").read_text().startswith("<!-- minbuild -->")
    assert (here / "r.dot").read_text().startswith("digraph needs {")
    assert "MinWin's categories" in (here / "r.txt").read_text()
    assert json.loads((here / "s.sarif").read_text())["version"] == "2.1.0"


def test_two_formats_do_not_fit_on_stdout(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["report", "a", "--json", "--text"]) == 2
    assert "two formats would be written to stdout" in capsys.readouterr().err


@pytest.mark.parametrize("by", ["section", "component", "package", "directory", "kind", "file"])
@pytest.mark.parametrize("sort", ["bytes", "packed", "added", "files", "name"])
def test_every_table_sums_to_the_totals_however_it_is_cut(
    here: Path, capsys: pytest.CaptureFixture[str], by: str, sort: str
) -> None:
    assert run_command_line(["report", "a", "--by", by, "--sort", sort, "--top", "1", "--csv"]) == 0
    head, *rows, total = csv.reader(capsys.readouterr().out.splitlines())
    totals = tiny().totals
    assert [int(cell) for cell in total[1:4]] == [totals.files, totals.bytes, totals.packed]
    for column in (1, 2, 3):
        assert sum(int(one[column]) for one in rows) == int(total[column]), head[column]


def test_diff_of_a_build_with_itself_is_empty(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["diff", "a", "a", "--exit-code"]) == 0
    out = capsys.readouterr().out
    assert "nothing differs" in out
    assert "add/remove: 0/0  grow/shrink: 0/0" in out


def test_diff_counts_and_names_what_differs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["diff", "a", "b", "--exit-code"]) == 1
    out = capsys.readouterr().out
    assert (
        "add/remove: 0/0  grow/shrink: 1/0  up/down: +0.0/-0.0 MiB  mode/owner: 0  surface: +1"
        in out
    )
    assert "+2 kB  /usr/bin/vm  [template]" in out
    assert "+ setuid programs: /usr/bin/vm (mode 4755)" in out
    assert (
        run_command_line(["diff", "a", "b", "--json", "--md=d.md", "--csv=d.csv", "--html=d.html"])
        == 0
    )
    (one,) = json.loads(capsys.readouterr().out)["differences"]
    assert (one["change"], one["bytes"], one["cause"]) == ("grown", 2000, "template")
    assert "setuid programs" in (here / "d.md").read_text()


def test_check_prints_a_line_for_each_rule_and_a_verdict(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--junit=j.xml", "--sarif=s.sarif", "--md=c.md", "--json=c.json", "--text"]
    assert run_command_line(["check", "b", "--budget", "budget.yaml", *words]) == 1
    out = capsys.readouterr().out
    assert "no baseline: absolute rules only" in out
    assert "FAIL  totals.files    4 of 3, 1 too many" in out
    assert "where: budget.yaml:2:17 (totals.files)" in out
    assert out.splitlines()[-1] == "FAIL: 2 of 3 rules"
    root = ET.parse(here / "j.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == ("3", "2")
    results = json.loads((here / "s.sarif").read_text())["runs"][0]["results"]
    place = results[0]["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("budget.yaml", 2)
    assert (here / "c.md").read_text().startswith("<!-- minbuild -->\n### minbuild FAIL")


@pytest.mark.parametrize("words", [["--md=c.md"], ["--md", "c.md", "--json"], ["--text=c.txt"]])
def test_a_check_that_prints_no_text_still_says_its_verdict(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert run_command_line(["check", "b", "--budget", "budget.yaml", *words]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "FAIL: 2 of 3 rules (totals.files, surface.setuid)"
    assert run_command_line(["check", "b", "--budget", "budget.yaml", "--text"]) == 1
    assert "FAIL" not in capsys.readouterr().err


@pytest.mark.parametrize("command", [["report", "a"], ["diff", "a", "b"], ["plan", "host.yaml"]])
def test_a_negative_top_is_an_error(
    here: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert run_command_line([*command, "--top", "-5"]) == 2
    assert "-5 is not in the range x>=0" in capsys.readouterr().err


@pytest.mark.parametrize("by", ["component", "package", "kind", "directory"])
def test_top_cuts_the_table_whatever_it_sums_up(
    here: Path, capsys: pytest.CaptureFixture[str], by: str
) -> None:
    assert run_command_line(["report", "a", "--by", by, "--top", "1"]) == 0
    out = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(out) if line.startswith(by))
    rows = out[start + 1 : out.index("", start)]
    named = [row for row in rows if not row.startswith(("[", "total"))]
    assert len(named) == 1
    assert any("others]" in row for row in rows)


def test_files_that_are_written_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["report", "a", "--html", "a.html", "--json"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "wrote a.html"
    assert run_command_line(["history", "append", "a", "--label", "one"]) == 0
    assert "wrote footprint-history.jsonl" in capsys.readouterr().err


def test_a_history_that_is_not_begun_says_how(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["history", "show"]) == 2
    said = capsys.readouterr().err
    assert "error: there is no history yet" in said
    command = said.partition("minbuild ")[2].split()
    assert run_command_line([word.replace("build/host", "a") for word in command]) == 0
    assert run_command_line(["history", "show"]) == 0


def test_why_is_about_the_newest_of_several_builds(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "build").mkdir()
    for number, name in enumerate(("b", "a")):
        (here / name).rename(here / "build" / name)
        os.utime(here / "build" / name / "footprint.json", (number, number))
    assert run_command_line(["why", "/usr/bin/vm"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("/usr/bin/vm  file, 3 kB")
    assert "note: of the builds below ./build this is about the newest, build/a" in err
    assert run_command_line(["check"]) == 2
    assert "there are several builds" in capsys.readouterr().err


def test_check_without_a_file_judges_the_manifest_s_budget(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["check", "b"]) == 1
    assert "budget.files" in capsys.readouterr().out
    assert run_command_line(["check", "a"]) == 2


MANIFESTS = {
    "lib/base.yaml": "minbuild: 1\nkernel: {package: linux}\nbudget:\n  files: 3\n  deny: {paths: [/usr/bin/vm]}\n",
    "lib/host.yaml": "minbuild: 1\nextends: [base.yaml]\nvars: {most: 9 MB}\n"
    "budget:\n  bytes: '{{ most }}'\n  surface: {setuid: 0}\n",
}


def test_a_manifest_s_rules_point_to_their_lines_in_it_and_in_what_it_extends(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in MANIFESTS.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text)
    words = ["--budget", "lib/host.yaml", "--set", "most=1 B", "--sarif=s.sarif", "--annotations"]
    assert run_command_line(["check", "b", *words]) == 1
    found = {
        one["ruleId"]: one["locations"][0]["physicalLocation"]
        for one in json.loads((here / "s.sarif").read_text())["runs"][0]["results"]
    }
    places = {
        rule: (at["artifactLocation"]["uri"], *at["region"].values()) for rule, at in found.items()
    }
    assert places == {
        "totals.files": ("lib/base.yaml", 10, 4),
        "totals.bytes": ("lib/host.yaml", 10, 5),
        "surface.setuid": ("lib/host.yaml", 21, 6),
        "deny.paths /usr/bin/vm": ("lib/base.yaml", 18, 5),
    }
    said = capsys.readouterr().out
    assert "::error file=lib/base.yaml,line=4,col=10::totals.files: 4 of 3" in said


def test_a_footprint_remembers_where_its_manifest_s_limits_stand(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = replace(
        change_footprint([]), budget={"files": 3}, budget_locations={"files": "host.yaml:7:10"}
    )
    (here / "footprint.json").write_text(document.render_footprint(built))
    assert run_command_line(["check", "footprint.json"]) == 1
    assert "where: host.yaml:7:10 (budget.files)" in capsys.readouterr().out


def test_check_needs_a_baseline_when_told_so(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", "b", "--budget", "budget.yaml", "--require-baseline"]
    assert run_command_line(words) == 2
    assert "--require-baseline needs a baseline" in capsys.readouterr().err
    assert run_command_line([*words, "--baseline", "a"]) == 1
    assert "absolute rules only" not in capsys.readouterr().out


def test_update_writes_limits_that_then_hold(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["check", "b", "--budget", "budget.yaml", "--update"]) == 0
    assert "budget.yaml:2:17 (totals.files): 3 -> 4" in capsys.readouterr().out
    assert run_command_line(["check", "b", "--budget", "budget.yaml"]) == 0
    assert run_command_line(["check", "b", "--budget", "missing.yaml"]) == 3


def test_history_keeps_a_line_for_each_build(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["history", "append", "a", "--label", "v1"]) == 0
    assert run_command_line(["history", "append", "b", "--label", "v2"]) == 0
    assert run_command_line(["history", "show"]) == 0
    assert "v2" in capsys.readouterr().out
    assert len((here / "footprint-history.jsonl").read_text().splitlines()) == 2


def test_a_comment_stays_short_whatever_differs(here: Path) -> None:
    rows = [
        replace(
            find_row("/usr/bin/vm"), path=RootPath(f"/usr/share/{'x' * 80}{n}"), sha256=f"{n:064x}"
        )
        for n in range(3000)
    ]
    (here / "b" / "footprint.json").write_text(document.render_footprint(change_footprint(rows)))
    assert run_command_line(["diff", "a", "b", "--md=d.md"]) == 0
    text = (here / "d.md").read_text()
    assert len(text.encode()) < 60_000
    assert "more, in the full report" in text


def test_without_data_nothing_is_evaluated(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.unit.compliance.shipments import shipment

    shipment(here / "c")
    assert run_command_line(["cve", "c"]) == 1
    assert "not evaluated" in capsys.readouterr().out
    assert run_command_line(["sbom", "c", "--status-d", "status.d"]) == 0
    assert (
        "Package: busybox\nStatus: install ok installed\n"
        in (here / "status.d" / "busybox").read_text()
    )
