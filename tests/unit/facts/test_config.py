"""Configuration files as lines."""

import pytest

from minbuild.facts.detect import MAX_TEXT_SIZE, needs_whole_file, read_facts, read_text_lines
from minbuild.facts.model import Script, TextLines
from minbuild.facts.serialize import decode_facts, encode_facts


def test_a_line_that_ends_in_a_backslash_goes_on_in_the_next() -> None:
    assert read_text_lines(b"one \\\n   two\nthree\n") == TextLines(("one two", "", "three"))
    assert read_text_lines(b"one\\\ntwo\\\nthree\nfour") == TextLines(
        ("onetwothree", "", "", "four")
    )


@pytest.mark.parametrize("data", [b"a\0b", b"\xff\xfe", b"x" * (MAX_TEXT_SIZE + 1)])
def test_what_is_no_text_is_none(data: bytes) -> None:
    assert read_text_lines(data) is None


@pytest.mark.parametrize(
    ("path", "data", "kept"),
    [
        ("/etc/nsswitch.conf", b"hosts: dns\n", True),
        ("/usr/lib/sysusers.d/a.conf", b"u a -\n", True),
        ("/usr/share/doc/a/README", b"hosts: dns\n", False),
    ],
)
def test_text_is_kept_where_programs_are_configured(path: str, data: bytes, kept: bool) -> None:
    assert isinstance(read_facts(path, data), TextLines) is kept
    assert needs_whole_file(path, data) is kept


def test_a_script_in_etc_stays_a_script() -> None:
    assert isinstance(read_facts("/etc/init.d/a", b"#!/bin/sh\n"), Script)


def test_a_record_of_text_is_read_back() -> None:
    facts = TextLines(("one", "", "ünï"))
    assert decode_facts(encode_facts(facts)) == facts
