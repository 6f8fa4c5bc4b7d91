"""Every command on the site and in the README is run, page by page, and prints what the page shows."""

import re
from pathlib import Path

import pytest

from tests.support.guides import compare_lines, copy_checkout, is_same, run_page
from tests.support.sample import sampled_params
from tools.doc_blocks import (
    TOP,
    Held,
    find_named_problems,
    find_problems,
    list_pages,
    parse_blocks,
    read_blocks,
)

MAX_CELL = 220
"""Characters: three or four lines of a column on a desktop."""
PAGES = {page.relative_to(TOP).as_posix(): read_blocks(page) for page in list_pages()}
RUN = [
    page
    for page, blocks in PAGES.items()
    if any(one.is_shell and one.held is Held.RUN for one in blocks)
]
LONG = [page for page, blocks in PAGES.items() if any(one.held is Held.LONG for one in blocks)]
FIRST = [page for page in RUN if page == "README.md" or "/tutorial/" in page]
"""What a newcomer reads; of the other pages each run takes two."""


@pytest.mark.mirror
@pytest.mark.xdist_group("guides")
@pytest.mark.parametrize(
    "page", [*FIRST, *sampled_params([one for one in RUN if one not in FIRST], 2)]
)
def test_every_command_of_a_page_does_what_it_says(page: str, tmp_path: Path) -> None:
    run(page, tmp_path, long=False)


@pytest.mark.mirror
@pytest.mark.boot
@pytest.mark.long
@pytest.mark.parametrize("page", LONG)
def test_what_boots_on_a_page_does_what_it_says(page: str, tmp_path: Path) -> None:
    run(page, tmp_path, long=True)


def run(page: str, tmp_path: Path, *, long: bool) -> None:
    directory = tmp_path / "work"
    directory.mkdir()
    if page == "README.md":
        copy_checkout(directory)
    steps = [*run_page(PAGES[page], directory, long=long)]
    problems = [problem for step in steps for problem in step.find_problems()]
    assert not problems, "\n\n".join(problems)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_have_a_language_and_commands_that_exist(page: str) -> None:
    assert find_problems(PAGES[page]) == []
    assert find_named_problems((TOP / page).read_text("utf-8"), page) == []


def test_every_block_that_is_not_run_says_why() -> None:
    for page, blocks in PAGES.items():
        for one in blocks:
            assert one.held is Held.RUN or one.reason, f"{page}:{one.line}"


@pytest.mark.parametrize("page", list_pages(), ids=lambda page: page.relative_to(TOP).as_posix())
def test_tables_have_short_cells(page: Path) -> None:
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", page.read_text("utf-8"))
    for row in re.findall(r"(?m)^\|.*$", text):
        for cell in re.split(r"(?<!\\)\|", row):
            shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", cell).strip()
            assert len(shown) <= MAX_CELL, f"move the details of this cell below its table: {shown}"


def test_a_command_in_a_sentence_exists_too() -> None:
    text = "Say `minbuild reproduce x`, `minbuild make --lokced` or `minbuild store check\\|size`."
    first, second = find_named_problems(text, "page.md")
    assert first.endswith("no command reproduce")
    assert second.endswith("no option --lokced")


# the comparison itself


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("49 files", "49 files", True),
        ("49 files", "50 files", False),
        ("packed 17.4 MB", "packed   17.6 MB", True),
        ("packed 17.4 MB", "packed 27.6 MB", False),
        ("packed 3.0 MB", "packed 5.9 MB", False),
        ("packed 3.0 MB", "packed 3.1 MB", True),
        ("took 0.5 s", "took 13.4 s", True),
        ("linux 6.12.117+deb13-amd64", "linux 6.12.118+deb13-amd64", True),
        ("totals 17,400,832 of 17,600,000", "totals 17,401,856 of 17,600,000", True),
        ("took 3.2 s ██▎", "took 3.1 s ███", True),
        ("a … z", "a b c z", True),
        ("a … z", "a b c y", False),
        ("sum 0123456789abcdef", "sum fedcba9876543210", True),
    ],
)
def test_a_line_is_that_of_the_page(expected: str, actual: str, same: bool) -> None:
    assert is_same(expected, actual) is same


def test_lines_come_in_the_order_of_the_page() -> None:
    assert compare_lines(["a", "…", "c"], ["a", "b", "b", "c"]) == ""
    assert "'c'" in compare_lines(["a", "c"], ["a", "b", "c"])
    assert "'b'" in compare_lines(["a"], ["a", "b"])
    assert "'d'" in compare_lines(["…", "d"], ["a", "b"])


def test_marks_of_a_block_are_read() -> None:
    text = (
        "<!-- first: one\n     two -->\n<!-- not run: needs a rack -->\n```console\n$ ls \\\n  -l\n"
        'a\n$ true\n```\n\n   ```yaml title="x.yaml"\n   a: 1\n   ```\n'
    )
    shell, file = parse_blocks(text, "page.md")
    assert (shell.held, shell.reason, shell.first) == (Held.NOT_RUN, "needs a rack", "one\ntwo")
    assert [one.text for one in shell.list_commands()] == ["ls \\\n  -l", "true"]
    assert shell.list_commands()[0].output == ("a",)
    assert (file.title, file.text, file.held) == ("x.yaml", "a: 1\n", Held.RUN)


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("```\nx\n```\n", "no language"),
        ("```yaml\na: [\n```\n", "is no yaml"),
        ("```sh\nminbuild mak host.yaml\n```\n", "no command mak"),
        ("```sh\nminbuild make host.yaml --lockd\n```\n", "no option --lockd"),
        ("```sh\nif true; then\n```\n", "syntax error"),
        ("```console\nno command\n```\n", "no command"),
    ],
)
def test_a_block_that_is_wrong_is_told(block: str, problem: str) -> None:
    (found,) = find_problems([*parse_blocks(block, "page.md")])
    assert problem in found
