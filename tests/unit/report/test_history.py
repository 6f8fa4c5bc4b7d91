"""Past builds: lines, trend, charts."""

import json

import pytest

from minbuild.errors import UsageError
from minbuild.report.history import (
    draw_sparkline,
    make_point,
    point_to_json,
    read_history,
    render_history,
    render_history_html,
)
from tests.support.footprints import tiny


def test_a_line_is_read_back() -> None:
    one = make_point(tiny(), "v1")
    assert read_history(point_to_json(one) + point_to_json(one), "x") == (one, one)


def test_a_sparkline_goes_from_least_to_greatest() -> None:
    assert draw_sparkline([1, 5, 9]) == "▁▄█"
    assert draw_sparkline([3, 3]) == "▁▁"
    assert draw_sparkline([]) == ""


def test_the_trend_is_shown_with_every_build() -> None:
    text = render_history([make_point(tiny(), "v1"), make_point(tiny(), "v2\x1b[2J")])
    assert "files" in text
    assert "v2\\x1b[2J" in text
    assert render_history([]) == "no builds yet\n"


def test_the_page_has_a_chart_for_each_measure_and_no_script() -> None:
    page = render_history_html([make_point(tiny(), "<b>v1"), make_point(tiny(), "v2")])
    assert page.count("<svg") == 3
    assert "<b>" not in page
    assert "script" not in page


BASE = {"label": "v", "name": "n", "kernel": "k", "files": 1, "bytes": 2, "packed": 3}
ODD_VALUES: tuple[object, ...] = (None, [], {}, 1.5, True)
WRONG = [
    *("{", "{}", '{"label": 1}', "[]", "null", "7", '"x"', "[" * 100_000, "{" * 100_000),
    *(json.dumps(BASE | {key: value}) for key in BASE for value in ODD_VALUES),
    *(json.dumps(BASE | {key: -1}) for key in ("files", "bytes", "packed")),
    *(json.dumps(BASE | {key: 10**400}) for key in ("files", "bytes", "packed")),
    *(json.dumps(BASE | {key: 7}) for key in ("label", "name", "kernel")),
    json.dumps(BASE | {"more": 1}),
    "",
]


def test_a_label_may_hold_what_python_takes_for_the_end_of_a_line() -> None:
    one = make_point(tiny(), "a\u2028b\x0bc\x85d")
    assert read_history(point_to_json(one) + point_to_json(one), "x") == (one, one)
    assert read_history("", "x") == ()


@pytest.mark.parametrize("text", WRONG)
def test_a_damaged_line_is_an_error_with_its_number(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_history(point_to_json(make_point(tiny(), "x")) + text + "\n", "h.jsonl")
    assert caught.value.where == "h.jsonl:2"
