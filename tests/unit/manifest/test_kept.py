"""Renderings in a store: the same as those that are made, for as long as nothing of them changes."""

import subprocess
import sys
from pathlib import Path

import pytest

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.manifest import templates
from minbuild.manifest.templates import find_variables, render_template
from minbuild.manifest.text_use import InvalidTemplate

TEXT = "{{ 'big' if size > 3 else 'small' }} {{ name }}"


def made(store: Store) -> int:
    """How many renderings a store has."""
    return len(store.get_all(RecordKind.RENDERING))


def test_a_kept_rendering_is_the_one_that_was_made(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in ("made", "kept"):
        with templates.use_render_cache(store, "1"):
            assert render_template(TEXT, {"size": 5, "name": "x"}) == "big x"
            assert render_template(TEXT, {"size": 1, "name": "x"}) == "small x"
            assert find_variables(TEXT) == {"size", "name"}
    assert made(store) == 3


def test_only_values_that_a_template_may_use_count(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for other in ("a", "b"):
        with templates.use_render_cache(store, "1"):
            render_template(TEXT, {"size": 5, "name": "x", "other": other})
    assert made(store) == 1


@pytest.mark.parametrize("value", [True, "True", 1, ("1",)])
def test_values_of_other_types_are_others(tmp_path: Path, value: bool | str | int) -> None:
    store = Store(tmp_path)
    text = "{{ one ~ ' ' }}"
    with templates.use_render_cache(store, "1"):
        for each in (True, "True", 1, ("1",), value):
            assert render_template(text, {"one": each}) == f"{each} "
    assert made(store) == 4


def test_a_variable_that_comes_to_be_defined_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    text = "{{ 'yes' if extra is defined else 'no' }}"
    with templates.use_render_cache(store, "1"):
        assert render_template(text, {}) == "no"
        assert render_template(text, {"extra": ""}) == "yes"


def test_faults_are_found_each_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(2):
        with templates.use_render_cache(store, "1"), pytest.raises(InvalidTemplate):
            render_template(TEXT, {"size": 5})
    assert made(store) == 0


def test_other_code_renders_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for code in ("1", "2"):
        with templates.use_render_cache(store, code):
            render_template(TEXT, {"size": 5, "name": "x"})
    assert made(store) == 2


def test_what_is_kept_is_used_without_jinja2(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from minbuild.manifest.templates import find_variables, render_template, use_render_cache
from minbuild.cache.store import Store
with use_render_cache(Store(Path(sys.argv[1])), "1"):
    print(render_template(sys.argv[2], {"size": 5, "name": "x"}), len(find_variables(sys.argv[2])), "jinja2" in sys.modules)
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), TEXT], capture_output=True, text=True
        ).stdout
        for _ in range(2)
    ]
    assert said == ["big x 2 True\n", "big x 2 False\n"]
