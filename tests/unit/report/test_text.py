"""The page for a terminal."""

import pytest

from minbuild.paths import RootPath
from minbuild.report.text import OWNERS, page, possible_dlopens
from minbuild.report.units import bar, printable, size
from tests.support.footprints import tiny


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1 kB"), (820_400, "820 kB"), (999_500, "1.0 MB"), (17_432_000, "17.4 MB")],
)  # fmt: skip
def test_sizes_are_printed_in_decimal_units(count: int, text: str) -> None:
    assert size(count) == text


def test_a_bar_is_as_long_as_its_share() -> None:
    assert bar(1, 2, 10) == "█████"
    assert bar(0, 2) == ""
    assert bar(9, 2, 4) == "████"
    assert len(bar(1, 1000, 10)) == 1


def test_terminal_escapes_in_names_are_shown_not_sent() -> None:
    assert printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\n"


def test_the_page_stands_beside_minwin() -> None:
    lines = page(tiny()).splitlines()
    assert next(line.split() for line in lines if line.startswith("files"))[:5] == [
        "files", "4", "161", "2", "%",
    ]  # fmt: skip
    assert next(line.split() for line in lines if line.startswith("packed"))[:5] == [
        "packed", "1.3", "MB", "20.0", "MB",
    ]  # fmt: skip


@pytest.mark.parametrize("by", sorted(OWNERS))
def test_every_table_ends_with_the_totals(by: str) -> None:
    lines = page(tiny(), by=by).splitlines()
    total = next(line.split() for line in lines if line.startswith("total"))
    assert total == ["total", "4", "1.7", "MB", "1.3", "MB"]


def test_files_beyond_the_top_are_counted_in_one_row() -> None:
    text = page(tiny(), top=1)
    assert "/boot/vmlinuz-6.1" in text
    assert "[3 others]" in text
    assert "/usr/bin/vm" in page(tiny(), top=0)


def test_possible_dlopens_are_listed_by_file() -> None:
    assert possible_dlopens({}) == ""
    assert "/usr/bin/x: libnss_x.so.2" in possible_dlopens(
        {RootPath("/usr/bin/x"): ("libnss_x.so.2",)}
    )
