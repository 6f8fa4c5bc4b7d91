"""Words of the kernel's command line; the kernel itself is asked in tests/unit/image/test_boot.py."""

import json
from pathlib import Path

import pytest

from minbuild.manifest.kernel_cmdline import (
    KernelParameter,
    append_words,
    find_word_problem,
    join_cmdline,
    parse_parameter,
    split_cmdline,
)
from minbuild.manifest.loader import read_manifest
from tests.support.cmdlines import random_parameters
from tests.unit.manifest.conftest import HEAD, Desk

FIX = 'write one word for each list item, a value with blanks as name="a value"'


@pytest.mark.parametrize("seed", range(20))
def test_a_line_falls_into_the_words_that_it_was_made_of(seed: int) -> None:
    valued, alone = random_parameters(seed)
    line = "  ".join((*valued, *alone))
    assert list(split_cmdline(line)) == [*valued, *alone]
    assert all(parse_parameter(word).value is not None for word in valued)
    assert all(parse_parameter(word).value is None for word in alone)


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("quiet", "quiet", None),
        ("a=b=c", "a", "b=c"),
        ('dyndbg="file a.c +p"', "dyndbg", "file a.c +p"),
        ('"dyndbg=file a.c +p"', "dyndbg", "file a.c +p"),
        ('a="', "a", ""),
        ("=a", "=a", None),
        ('a="b"c', "a", 'b"c'),
    ],
)
def test_quotes_are_taken_off_as_the_kernel_does(word: str, name: str, value: str | None) -> None:
    assert parse_parameter(word) == KernelParameter(name, value)


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("a b", "it has a blank outside of double quotes"),
        ('a="b" c="d"', "it has a blank outside of double quotes"),
        ('a="b c', "a double quote is not closed"),
        ("a=b\\nc", ""),
        ("a=b\nc", "it contains a control character"),
        ("a='b c'", "it has a blank outside of double quotes"),
        ("name=à", "the kernel reads one of its letters as a blank"),
        ('name="à"', ""),
        ("a\ud800", "it contains half of a surrogate pair"),
        ("", "it is empty"),
    ],
)
def test_what_is_no_single_word_is_told(word: str, why: str) -> None:
    assert find_word_problem(word) == why


def test_words_for_init_stay_behind_those_for_the_kernel() -> None:
    assert join_cmdline(["a", "--", "single"], ["b"], ["--", "x"]) == "a b -- single x"
    assert append_words("a -- single", ["c", 'd="e f"']) == 'a c d="e f" -- single'
    assert join_cmdline(["a"], ["b", "--"]) == "a b"


def test_the_last_document_speaks_last_and_every_word_counts(desk: Desk) -> None:
    desk.write(
        {
            "base.yaml": f"{HEAD[:-2]}, cmdline: [loglevel=3, quiet, loglevel=6]}}\n",
            "mine.yaml": "minbuild: 1\nextends: [base.yaml]\nkernel:\n  cmdline:\n"
            "  - loglevel=3\n  - hugepages=2\n  - 'dyndbg=\"file a +p\"'\n  - hugepages=2\n",
        }
    )
    assert read_manifest(Path("mine.yaml"), settings={}, components=[]).kernel.cmdline == (
        "loglevel=3", "quiet", "loglevel=6", "loglevel=3", "hugepages=2", 'dyndbg="file a +p"',
        "hugepages=2",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a={{ x }}", "ttyS0 init=/bin/sh"),
        ("a={{ x }}", "x\nquiet"),
        ('a="{{ x }}"', 'x" init="/bin/sh'),
        ('a="{{ x }}"', 'x"'),
    ],
)
def test_a_variable_cannot_add_a_word(word: str, value: str, desk: Desk) -> None:
    desk.component("boot/mine", f"vars: {{x: ''}}\ncmdline: ['{word}']\n")
    quoted = json.dumps(value)
    ((where, what, fix),) = desk.problems(f"boot: {{use: [mine]}}\nvars: {{x: {quoted}}}\n")
    assert where.startswith("components/boot/mine.yaml:3:11 (cmdline[0])")
    assert "is not one word" in what
    assert fix == FIX


def test_of_two_lines_for_libraries_the_later_documents_holds(desk: Desk) -> None:
    desk.write(
        {
            "base.yaml": "minbuild: 1\n"
            "dlopen: {'/usr/**': suggested, /usr/bin/x: suggested, /usr/bin/y: suggested}\n",
            "word.yaml": "minbuild: 1\ndlopen: suggested\n",
        }
    )
    own = "dlopen: {'/usr/**': required}\n"
    rules = desk.load("extends: [base.yaml]\n" + own).dlopen
    assert [(rule.path, str(rule.priority)) for rule in rules] == [
        ("/usr/bin/x", "suggested"),
        ("/usr/bin/y", "suggested"),
        ("/usr/**", "required"),
    ]
    rules = desk.load("extends: [word.yaml]\n" + own).dlopen
    assert [rule.path for rule in rules] == ["/**", "/usr/**"]
