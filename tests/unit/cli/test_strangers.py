"""A footprint from a stranger, whose every text attacks: no output carries it out."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from minbuild.cli.main import run_command_line
from minbuild.footprint import document
from minbuild.footprint.model import FindingKind, Surface, SurfaceFinding
from minbuild.paths import RootPath
from minbuild.resolve.model import Need, NeedKind
from tests.support.footprints import tiny

EVIL = "\x1b]0;x\x07<img src=x onerror=x></script><script>x</script>\n::error::x`|$(id)\u202e"
RAW = ("\x1b", "\x07", "\u202e", "\n::error::x")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small footprint as a, and the stranger's as evil.json."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text(document.render_footprint(tiny()))
    base = tiny()
    files = tuple(
        replace(row, path=RootPath(row.path + EVIL), component=row.component + EVIL,
                package=row.package + EVIL, section=row.section + EVIL, target=EVIL)
        for row in base.files
    )  # fmt: skip
    edges = (*base.edges, Need(files[1].path, "boot/init" + EVIL, NeedKind.ROOT, EVIL))
    findings = (
        SurfaceFinding(FindingKind.LISTENER, EVIL, EVIL),
        SurfaceFinding(FindingKind.SETUID, EVIL, EVIL),
    )
    evil = replace(
        base, name=f"../\0{EVIL}", kernel=EVIL, arch=EVIL, suites=(EVIL,), files=files, edges=edges,
        surface=Surface(findings), budget={"files": 1}, budget_locations={"files": f"{EVIL}:1:2"},
        packages=tuple(replace(row, name=row.name + EVIL, version=EVIL) for row in base.packages),
        components=tuple(replace(row, name=row.name + EVIL) for row in base.components),
        sections=tuple(replace(row, name=row.name + EVIL) for row in base.sections),
    )  # fmt: skip
    (tmp_path / "evil.json").write_text(document.render_footprint(evil))
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["report", "evil.json", "--by", "component", "--text=o.txt", "--md=o.md", "--csv=o.csv",
         "--html=o.html", "--junit=o.xml", "--sarif=o.sarif", "--dot=o.dot"],
        ["diff", "a.json", "evil.json", "--text=o.txt", "--md=o.md", "--csv=o.csv", "--html=o.html"],
        ["diff", "evil.json", "a.json", "--text=o.txt", "--md=o.md", "--csv=o.csv", "--html=o.html"],
        ["check", "evil.json", "--annotations", "--text=o.txt", "--md=o.md", "--junit=o.xml"],
        ["why", "evil.json", "/nowhere"],
        ["why", "evil.json", f"/usr/bin/vm{EVIL}"],
        ["tree", "evil.json"],
    ],
)  # fmt: skip
def test_no_output_carries_an_attack_out(
    here: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(words) in {0, 1}
    told = capsys.readouterr()
    made = {path.suffix: path.read_text() for path in here.glob("o.*")} | {
        "said": told.out + told.err
    }
    for form, text in made.items():
        assert [mark for mark in RAW if mark in text] == [], form
    assert "<img src=x" not in made.get(".html", "")
    assert "<script>x" not in made.get(".html", "")
    if ".xml" in made:
        ET.fromstring(made[".xml"])
    if ".sarif" in made:
        json.loads(made[".sarif"])
