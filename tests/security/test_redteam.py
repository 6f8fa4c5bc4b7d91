"""The table of attacks names tests that are there."""

import subprocess
import sys

from tests.security.redteam import Row, classes, table


def test_every_class_names_tests_that_are_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.security.redteam", "--list"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "no such test" not in done.stdout


def test_what_came_through_fails_the_table() -> None:
    row = Row("file", "noise", (), tried=2, held=1, failed=["tests/x.py::test_y"])
    text, good = table([row], quick=False)
    assert not good
    assert "came through: tests/x.py::test_y" in text


def test_a_class_that_tried_nothing_fails() -> None:
    assert not table([Row("file", "noise", ())], quick=False)[1]
    assert table([Row("file", "noise", ())], quick=True)[1]


def test_no_attack_stands_in_two_classes() -> None:
    names = [row.attack for row in classes()]
    assert len(names) == len(set(names))
