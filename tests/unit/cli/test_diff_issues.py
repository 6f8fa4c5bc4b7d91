"""Package changes and open issues of two builds or two locks, as a user types them."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.archive import lockfile
from minbuild.archive.model import Lock, LockedSuite
from minbuild.cli.main import run_command_line
from minbuild.footprint import document
from tests.unit.compliance.shipments import PACKAGES, shipment

OPEN = {"releases": {"trixie": {"status": "open"}, "sid": {"fixed_version": "6.1.12-1"}}}
FIXED = {"releases": {"trixie": {"status": "resolved", "fixed_version": "6.1.10-1"}}}
OLD = {"releases": {"trixie": {"status": "resolved", "fixed_version": "2.40-1"}}}
TRACKER = {"linux": {"CVE-1": FIXED, "CVE-2": OPEN}, "util-linux": {"CVE-3": OLD}}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Builds a and b: the kernel of b is 6.1.10-1; and the security data."""
    monkeypatch.chdir(tmp_path)
    old = shipment(tmp_path / "a")
    (tmp_path / "b").mkdir()
    packages = [replace(one, version="6.1.10-1", source_version="6.1.10+1", sha256="a" * 64)
                if one.name == "linux-image" else one for one in PACKAGES]  # fmt: skip
    suite = LockedSuite("trixie", "debian", 1_700_000_000, "5" * 64)
    lockfile.write_lock(tmp_path / "b/tiny.lock", Lock("amd64", (suite,), tuple(packages), ()))
    rows = [replace(one, version="6.1.10-1") if one.name == "linux-image" else one
            for one in old.footprint.packages]  # fmt: skip
    new = replace(old.footprint, packages=tuple(rows))
    (tmp_path / "b/footprint.json").write_text(document.render_footprint(new))
    (tmp_path / "cves.json").write_text(json.dumps(TRACKER))
    return tmp_path


@pytest.mark.parametrize("pair", [("a", "b"), ("a/tiny.lock", "b/tiny.lock")])
def test_issues_that_an_update_closes_are_named(
    here: Path, pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--cve-data", "cves.json", "--json=d.json", "--md=d.md", "--csv=d.csv", "--text"]
    assert run_command_line(["diff", *pair, *words]) == 0
    said = capsys.readouterr().out
    assert "open issues: 2 -> 1 (+0, -1)" in said
    assert "- CVE-1  linux  fixed in 6.1.10-1" in said
    document = json.loads((here / "d.json").read_text())
    assert [one["name"] for one in document["issues"]["gone"]] == ["CVE-1"]
    assert {"linux-image"} == {one["name"] for one in document["packages"]}
    assert "open issues: 2 -> 1" in (here / "d.md").read_text()
    assert len(list(csv.reader((here / "d.csv").read_text().splitlines()))) >= 1


@pytest.mark.parametrize("pair", [("a", "b"), ("a/tiny.lock", "b/tiny.lock"), ("a", "a")])
def test_without_data_nothing_is_said_to_be_open_or_closed(
    here: Path, pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["diff", *pair, "--json=d.json", "--text"]) == 0
    assert "open issues: not evaluated" in capsys.readouterr().out
    assert json.loads((here / "d.json").read_text())["issues"] is None


def test_locks_are_shown_in_several_formats_but_not_as_a_page(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ["a/tiny.lock", "b/tiny.lock"]
    assert run_command_line(["diff", *pair, "--csv", "--exit-code"]) == 1
    assert list(csv.reader(capsys.readouterr().out.splitlines()))[1] == [
        "host", "linux-image", "6.1.9-1", "6.1.10-1", "trixie",
    ]  # fmt: skip
    assert run_command_line(["diff", *pair, "--html=x.html"]) == 2
    assert run_command_line(["diff", "a/tiny.lock", "a/tiny.lock", "--exit-code"]) == 0
    assert "nothing differs" in capsys.readouterr().out
