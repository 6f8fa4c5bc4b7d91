"""The table of attacks names tests that are there."""

import ast
import re
from pathlib import Path

from tests.security.redteam import AttackClass, list_classes, render_table

TOP = Path(__file__).parents[2]


def names(path: str) -> set[str]:
    """The tests of a file, without `test_`."""
    tree = ast.parse((TOP / path).read_text("utf-8"))
    functions = (one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef))
    return {name.removeprefix("test_") for name in functions if name.startswith("test_")}


def test_every_class_names_tests_that_are_there() -> None:
    """Read, not collected, which takes ten seconds: `python -m tests.security.redteam --list`."""
    for row in list_classes():
        for path, pattern in row.tests:
            assert any(re.fullmatch(pattern, name) for name in names(path)), f"{path}: {pattern}"


def test_what_came_through_fails_the_table() -> None:
    row = AttackClass("file", "noise", (), tried=2, stopped=1, failed=["tests/x.py::test_y"])
    text, good = render_table([row], quick=False)
    assert not good
    assert "came through: tests/x.py::test_y" in text


def test_a_class_that_tried_nothing_fails() -> None:
    assert not render_table([AttackClass("file", "noise", ())], quick=False)[1]
    assert render_table([AttackClass("file", "noise", ())], quick=True)[1]


def test_no_attack_stands_in_two_classes() -> None:
    names = [row.attack for row in list_classes()]
    assert len(names) == len(set(names))
