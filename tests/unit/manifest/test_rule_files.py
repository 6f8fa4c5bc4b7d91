"""Files of rules: what they may say, and what is said of a bad one."""

import re
from pathlib import Path

import pytest

from minbuild.errors import ManifestError
from minbuild.manifest.files import is_regular_expression
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Priority
from minbuild.manifest.rule_files import RuleSet, find_rule_files, load_rules
from tests.unit.manifest.conftest import Desk

GOOD = """\
summary: Plug-ins of a program
rules:
  - file: /etc/app.conf
    line: '^load (?P<plugin>\\w+)'
    needs: ["/usr/lib/{triplet}/app/{plugin}.so"]
    package: "app-{plugin}"
  - {linked: libapp.so.*, needs: [/usr/share/app/**], priority: suggested}
"""


def read(directory: Path, text: str, name: str = "app") -> RuleSet:
    path = directory / f"{name}.yaml"
    path.write_text(text)
    return load_rules([path])


def test_a_rule_says_when_what_is_needed(tmp_path: Path) -> None:
    first, second = read(tmp_path, GOOD).rules
    assert (first.file, first.package, first.topic) == ("/etc/app.conf", "app-{plugin}", "app")
    assert (first.priority, second.priority) == (Priority.REQUIRED, Priority.SUGGESTED)
    assert (first.where.line, second.where.line) == (3, 7)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("file: /etc", "fil: /etc", 3, "unknown key 'fil'"),
        ("{plugin}.so", "{plug}.so", 3, "unknown placeholder {plug}"),
        ("(?P<plugin>", "(?P<plugin", 4, "is not a regular expression"),
        ("suggested", "sugested", 7, "unknown priority 'sugested'"),
        ("linked: libapp.so.*, ", "", 7, "the rule has no trigger"),
        ("summary: Plug-ins of a program\n", "", 1, "the key 'summary' is missing"),
        ("needs: [/usr/share/app/**]", "needs: [usr/share]", 7, "'usr/share' is not an absolute"),
    ],
)
def test_a_bad_rule_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    problems = (caught.value, *caught.value.also)
    assert any(re.search(rf"app\.yaml:{line}:", one.where) and says in one.what for one in problems)


def test_a_users_rules_stand_beside_the_shipped_ones_and_replace_them(tmp_path: Path) -> None:
    rules = tmp_path / "components" / "rules"
    rules.mkdir(parents=True)
    (rules / "own.yaml").write_text(GOOD)
    (rules / "nss.yaml").write_text(GOOD)
    found = {path.stem: path for path in find_rule_files([tmp_path / "components"])}
    assert found["own"] == rules / "own.yaml"
    assert found["nss"] == rules / "nss.yaml"
    assert found["pam"].is_relative_to(find_rule_files(())[0].parent)


def test_a_manifest_knows_its_files_of_rules_by_their_content(tmp_path: Path) -> None:
    place = tmp_path / "host.yaml"
    place.write_text("minbuild: 1\nkernel: {package: linux}\ndata: {terminfo: [linux]}\n")
    before = read_manifest(place, settings={}, components=())
    rules = tmp_path / "components" / "rules"
    rules.mkdir(parents=True)
    (rules / "own.yaml").write_text(GOOD)
    after = read_manifest(place, settings={}, components=())
    assert {path.name for path in after.rules} - {path.name for path in before.rules} == {
        "own.yaml"
    }
    assert str(rules / "own.yaml") in after.inputs
    assert [each.topic for one in after.components for each in one.data] == ["terminfo"]


@pytest.mark.parametrize("name", ["mine.yml", "My_Rules.yaml"])
def test_a_rule_file_that_would_not_be_read_is_an_error(desk: Desk, name: str) -> None:
    desk.write({f"components/rules/{name}": "rules: []\n"})
    ((where, what, fix),) = desk.problems()
    assert where == f"components/rules/{name}"
    assert what == f"{where} is not read: its name is not that of a rule file"
    assert fix in {"rename it to mine.yaml", "rename it to my-rules.yaml"}


def test_a_pattern_that_a_later_python_reads_otherwise_is_none() -> None:
    """Source: Python's re, "Possible nested set", a FutureWarning."""
    assert not is_regular_expression("[[a]")
    assert is_regular_expression("[a]")
