"""What `make house` counts, on a small tree whose figures are known."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from tools import survey
from tools.frames import run_watched

SOURCES = {
    "__init__.py": '"""A package."""\n',
    "a.py": '"""What a knows."""\nfrom small import b\n\n\nclass Same:\n    """Twice."""\n',
    "b.py": "def told() -> None:\n    from small.c import seed\n\n    seed()\n\n\nclass Same: ...\n",
    "c.py": "from typing import TYPE_CHECKING\n\nimport small.b\n\nif TYPE_CHECKING:\n    from small import a\n\n\n"
    "def seed() -> None:\n    found = [one for one in ()]\n    print(found)\n",
    "deep/__init__.py": "",
    "deep/a.py": "from small.a import Same\n",
}


@pytest.fixture
def modules(tmp_path: Path) -> dict[str, survey.Module]:
    for name, text in SOURCES.items():
        path = tmp_path / "small" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "script.py").write_text("def told() -> None: ...\n", encoding="utf-8")
    (tmp_path / "small" / "share").symlink_to("../data")
    return survey.read_modules(tmp_path, ["small"])


def test_what_a_link_leads_to_is_no_module(modules: dict[str, survey.Module]) -> None:
    assert sorted(modules) == [
        "small",
        "small.a",
        "small.b",
        "small.c",
        "small.deep",
        "small.deep.a",
    ]


def test_an_import_for_types_alone_makes_no_circle(modules: dict[str, survey.Module]) -> None:
    assert survey.find_circles(modules) == [["small.b", "small.c"]]
    assert survey.find_importers(modules)["small.a"] == {"small.c", "small.deep.a"}


def test_imports_in_functions_are_counted(modules: dict[str, survey.Module]) -> None:
    assert [survey.count_function_imports(modules[f"small.{name}"]) for name in "abc"] == [0, 1, 0]


def test_names_are_counted(modules: dict[str, survey.Module]) -> None:
    assert survey.find_repeated_names(modules, ast.ClassDef) == {"Same": ["small.a", "small.b"]}
    assert survey.find_repeated_files(modules) == {"a.py": ["small.a", "small.deep.a"]}
    assert survey.list_participles(modules) == ["small.b.told"]
    assert dict(survey.count_pronouns(modules)) == {"found": 1}
    assert survey.count_relative_openings(modules) == 1


@pytest.mark.parametrize(
    ("word", "is_one"),
    [("opened", True), ("found", True), ("need", False), ("seed", False), ("read", False)],
)
def test_a_participle_is_told_by_its_ending(word: str, is_one: bool) -> None:
    assert survey.is_participle(word) is is_one


def test_the_house_itself_has_its_figures() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.house", "--no-runs", "--json"],
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, check=True, timeout=PATIENCE,
    )  # fmt: skip
    rows = json.loads(done.stdout)
    assert int(rows["modules / packages / lines"].partition(" ")[0]) > 100


def test_a_run_is_watched() -> None:
    assert 5 < run_watched("modules", "--help")["modules"] < 100
    assert run_watched("codes", "schema")["codes"] > 20
