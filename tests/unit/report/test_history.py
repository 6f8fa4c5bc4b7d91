"""Past builds: lines, trend, charts."""

import pytest

from minbuild.errors import UsageError
from minbuild.report.history import as_html, as_text, line, point, read, sparkline
from tests.support.footprints import tiny


def test_a_line_is_read_back() -> None:
    one = point(tiny(), "v1")
    assert read(line(one) + line(one), "x") == (one, one)


def test_a_sparkline_goes_from_least_to_greatest() -> None:
    assert sparkline([1, 5, 9]) == "▁▄█"
    assert sparkline([3, 3]) == "▁▁"
    assert sparkline([]) == ""


def test_the_trend_is_shown_with_every_build() -> None:
    text = as_text([point(tiny(), "v1"), point(tiny(), "v2\x1b[2J")])
    assert "files" in text
    assert "v2\\x1b[2J" in text
    assert as_text([]) == "no builds yet\n"


def test_the_page_has_a_chart_for_each_measure_and_no_script() -> None:
    page = as_html([point(tiny(), "<b>v1"), point(tiny(), "v2")])
    assert page.count("<svg") == 3
    assert "<b>" not in page
    assert "script" not in page


@pytest.mark.parametrize("text", ["{", "{}", '{"label": 1}', "[]"])
def test_a_damaged_line_is_an_error_with_its_number(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(line(point(tiny(), "x")) + text, "h.jsonl")
    assert caught.value.where == "h.jsonl:2"
