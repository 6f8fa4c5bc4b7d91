"""The page for a terminal."""

import json
from dataclasses import replace

import pytest

from minbuild.explain.size_tables import OWNER_KEYS
from minbuild.footprint.model import FindingKind, Surface, SurfaceFinding
from minbuild.paths import RootPath
from minbuild.report import footprint_formats, html
from minbuild.report.footprint_formats import render_markdown
from minbuild.report.layout import escape_line, format_bar, format_size
from minbuild.report.text import render_possible_dlopens, render_text
from tests.support.footprints import tiny


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1 kB"), (820_400, "820 kB"), (999_500, "1.0 MB"), (17_432_000, "17.4 MB")],
)  # fmt: skip
def test_sizes_are_printed_in_decimal_units(count: int, text: str) -> None:
    assert format_size(count) == text


def test_a_bar_is_as_long_as_its_share() -> None:
    assert format_bar(1, 2, 10) == "█████"
    assert format_bar(0, 2) == ""
    assert format_bar(9, 2, 4) == "████"
    assert len(format_bar(1, 1000, 10)) == 1


def test_terminal_escapes_in_names_are_shown_not_sent() -> None:
    assert escape_line("a\x1b[2Jb\n") == "a\\x1b[2Jb\\n"


def test_the_page_stands_beside_minwin() -> None:
    lines = render_text(tiny()).splitlines()
    assert next(line.split() for line in lines if line.startswith("files"))[:5] == [
        "files", "4", "161", "2", "%",
    ]  # fmt: skip
    assert next(line.split() for line in lines if line.startswith("packed"))[:5] == [
        "packed", "1.3", "MB", "20.0", "MB",
    ]  # fmt: skip


@pytest.mark.parametrize("by", sorted(OWNER_KEYS))
def test_every_table_ends_with_the_totals(by: str) -> None:
    lines = render_text(tiny(), by=by).splitlines()
    total = next(line.split() for line in lines if line.startswith("total"))
    assert total == ["total", "4", "1.7", "MB", "1.3", "MB"]


def test_files_beyond_the_top_are_counted_in_one_row() -> None:
    text = render_text(tiny(), top=1)
    assert "/boot/vmlinuz-6.1" in text
    assert "[3 others]" in text
    assert "/usr/bin/vm" in render_text(tiny(), top=0)


def test_possible_dlopens_are_listed_by_file() -> None:
    assert render_possible_dlopens({}) == ""
    assert "/usr/bin/x: libnss_x.so.2" in render_possible_dlopens(
        {RootPath("/usr/bin/x"): ("libnss_x.so.2",)}
    )


def test_each_row_has_its_share_of_the_budget() -> None:
    shown = render_text(replace(tiny(), budget={"packed": 2_610_014}), full=True, by="component")
    rows = {line.split()[0]: line for line in shown.splitlines() if line}
    assert "of budget" in rows["component"]
    assert "38 %" in rows["kernel/kvm"]
    assert "50 %" in rows["total"]
    assert "of budget" not in render_text(tiny(), full=True)


def test_the_surface_stands_beside_a_plain_debian_that_was_measured() -> None:
    read = json.loads(footprint_formats.DEBIAN_DATA.read_text("utf-8"))
    assert read["schema"] == footprint_formats.DEBIAN_SCHEMA
    assert read["files"] > 5_000
    assert {"busybox", "libc6", "qemu-system-x86"} <= set(read["packages"])
    assert set(read["surface"]) <= {str(kind) for kind in FindingKind}
    shown = render_text(replace(tiny(), surface=Surface()), full=True)
    line = next(one for one in shown.splitlines() if one.startswith("setuid programs"))
    assert line.split() == ["setuid", "programs", "0", str(read["surface"]["setuid"])]
    assert f"{read['installed']} packages" in shown


def test_a_recommended_setting_that_does_not_hold_has_its_price() -> None:
    detail = "is 2; costs: strace and gdb"
    lack = SurfaceFinding(FindingKind.HARDENING, "sysctl kernel.yama.ptrace_scope=3", detail)
    found = replace(tiny(), surface=Surface((lack,)))
    line = "sysctl kernel.yama.ptrace_scope=3  is 2           strace and gdb"
    assert line in render_text(found, full=True).splitlines()
    assert "what it would cost" not in render_text(replace(tiny(), surface=Surface()), full=True)
    for shown in (html.render_html(found), render_markdown(found, by="section", sort="", top=3)):
        assert "strace and gdb" in shown
