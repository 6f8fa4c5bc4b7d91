"""Tables and sentences in a terminal's width."""

from dataclasses import replace

import pytest

from minbuild.explain import why
from minbuild.footprint.budget_check import check_embedded_limits
from minbuild.footprint.comparison import compare_footprints
from minbuild.footprint.model import FindingKind, Surface, SurfaceFinding
from minbuild.paths import RootPath
from minbuild.report import diff, needs, text
from minbuild.report.layout import (
    MIN_NAME,
    align_columns,
    format_entry,
    layout_lines,
    layout_rows,
    shorten,
    wrap_line,
)
from minbuild.resolve.model import ScriptWarning
from tests.support.footprint_variants import change_footprint, find_row
from tests.support.footprints import tiny

WIDTHS = (80, 81, 100, 120, 160)
LONG = RootPath("/usr/lib/modules/6.12.118+deb13-cloud-amd64/kernel/net/core/failover.ko.xz")


@pytest.mark.parametrize(
    ("name", "room", "short"),
    [
        ("/usr/bin/vm", 11, "/usr/bin/vm"),
        (LONG, 34, "…/kernel/net/core/failover.ko.xz"),
        (LONG, 33, "…/kernel/net/core/failover.ko.xz"),
        (LONG, 31, "…/net/core/failover.ko.xz"),
        (LONG, 15, "failover.ko.xz"),
        ("/a/vmlinuz-6.12.118+deb13-cloud-amd64", 20, "…/vmlinuz-…oud-amd64"),
        ("[boot stub, headers and padding]", 20, "[boot stu…d padding]"),
        ("   └─ /usr/lib/x86_64-linux-gnu/libm.so.6", 20, "   └─ …/libm.so.6"),
    ],
)
def test_a_path_keeps_its_end_and_a_name_both_ends(name: str, room: int, short: str) -> None:
    assert shorten(name, room) == short
    assert len(short) <= room


def test_sentences_break_between_words_and_a_long_word_stays_whole() -> None:
    assert wrap_line("one two three", 8) == ["one two", "three"]
    assert wrap_line("  one two three", 9) == ["  one two", "    three"]
    assert wrap_line(f"see {LONG} there", 20) == ["see", LONG, "there"]
    assert wrap_line("a: 1  b: 2  c: 3", 12, blank="  ") == ["a: 1  b: 2", "c: 3"]
    assert wrap_line("as long as it is", 0) == ["as long as it is"]


def test_a_sentence_stands_beside_its_row_or_below_it() -> None:
    rows = [["name", "1", "one two three four five six seven"], ["other", "2", ""]]
    left = frozenset({0, 2})
    assert layout_lines(rows, left) == align_columns(rows, left)
    assert layout_lines(rows, left, width=40) == [
        "name   1  one two three four five six",
        "          seven",
        "other  2",
    ]
    assert layout_lines(rows, left, width=30) == [
        "name   1",
        "    one two three four five",
        "    six seven",
        "other  2",
    ]
    assert layout_rows([], left, 30) == []


def test_a_note_goes_below_a_path_that_would_not_be_readable() -> None:
    assert format_entry("└─ ", "/usr/bin/vm", "[root: x]", 80) == ["└─ /usr/bin/vm  [root: x]"]
    assert format_entry("└─ ", LONG, "[module: depends=failover]", 66) == [
        "└─ …/kernel/net/core/failover.ko.xz  [module: depends=failover]"
    ]
    assert format_entry("└─ ", LONG, "[module: depends=failover]", 40) == [
        "└─ …/kernel/net/core/failover.ko.xz",
        "     [module: depends=failover]",
    ]


def words(shown: str) -> set[str]:
    return {word for word in shown.split() if not word.startswith("/")}


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_of_a_report_is_longer_than_the_terminal(width: int) -> None:
    findings = [
        SurfaceFinding(FindingKind.LISTENER, f"tcp/{port}", "x") for port in range(4000, 4030)
    ]
    findings += [
        SurfaceFinding(FindingKind.HARDENING, "config SCHED_CORE=y", "is not set; costs: time " * 6)
    ]
    footprint = replace(
        change_footprint([replace(find_row("/usr/bin/vm"), path=LONG, size=5_000)]),
        budget={"files": 1, "packed": 12},
        surface=Surface(tuple(findings)),
        warnings=(ScriptWarning(RootPath("/usr/bin/vm"), 3, "a command that is not there " * 5),),
    )  # fmt: skip
    for by in ("section", "component", "package", "file"):
        shown = text.render_text(footprint, by=by, full=True, width=width)
        assert max(map(len, shown.splitlines())) <= width
    whole = text.render_text(footprint, full=True)
    assert max(map(len, whole.splitlines())) > 160
    assert LONG in whole


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_of_a_diff_or_a_chain_is_longer_than_the_terminal(width: int) -> None:
    after = change_footprint([replace(find_row("/usr/bin/vm"), path=LONG, size=5_000)])
    shown = diff.render_diff(compare_footprints(tiny(), after), width=width)
    assert max(map(len, shown.splitlines())) <= width
    assert "failover.ko.xz" in shown
    for path in ("/usr/bin/vm", "/usr/bin/nothing"):
        answer = why.explain(tiny(), path)
        chain = needs.render_explanation(answer, precise=True, width=width)
        assert max(map(len, chain.splitlines())) <= width


def test_a_budget_that_is_exceeded_says_by_how_much() -> None:
    base = tiny()
    totals = replace(base.totals, packed=17_640_123, files=50)
    budget = {"packed": 17_600_000, "files": 49}
    shown = text.render_budget(check_embedded_limits(replace(base, totals=totals, budget=budget)))
    assert "OVER  40,123 bytes too many" in shown
    assert "OVER  1 too many" in shown


def test_columns_shorten_one_and_leave_the_others() -> None:
    rows = [["path", "bytes"], [LONG, "12"]]
    lines = align_columns(rows, width=40)
    assert max(map(len, lines)) <= 40
    assert lines[1].split()[1] == "12"
    assert len(align_columns(rows, width=5)[1].split()[0]) <= MIN_NAME
