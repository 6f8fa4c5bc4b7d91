"""Modules that run when they are first used."""

import subprocess
import sys

import pytest

from minbuild.lazy_import import import_lazily

SCRIPT = """
import sys
from minbuild.lazy_import import import_lazily

(html,) = import_lazily("minbuild.report", "html")
assert html is sys.modules["minbuild.report.html"]
assert "minbuild.explain.weights" not in sys.modules
html.render_html
assert "minbuild.explain.weights" in sys.modules
from minbuild.report.html import render_html
assert render_html is html.render_html
"""


def test_a_module_runs_when_it_is_first_used() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)


def test_a_module_that_was_imported_before_is_the_same() -> None:
    assert import_lazily("minbuild", "lazy_import") == (sys.modules["minbuild.lazy_import"],)


def test_a_module_that_does_not_exist_is_an_error_at_once() -> None:
    with pytest.raises(ImportError, match=r"minbuild\.no_such_module"):
        import_lazily("minbuild", "no_such_module")
