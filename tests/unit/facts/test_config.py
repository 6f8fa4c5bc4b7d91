"""Configuration files as lines."""

import pytest

from minbuild.facts.config import LARGEST, text
from minbuild.facts.record import pack_facts, read_facts
from minbuild.facts.sniff import sniff, whole
from minbuild.facts.types import Script, Text


def test_a_line_that_ends_in_a_backslash_goes_on_in_the_next() -> None:
    assert text(b"one \\\n   two\nthree\n") == Text(("one two", "", "three"))
    assert text(b"one\\\ntwo\\\nthree\nfour") == Text(("onetwothree", "", "", "four"))


@pytest.mark.parametrize("data", [b"a\0b", b"\xff\xfe", b"x" * (LARGEST + 1)])
def test_what_is_no_text_is_none(data: bytes) -> None:
    assert text(data) is None


@pytest.mark.parametrize(
    ("path", "data", "kept"),
    [
        ("/etc/nsswitch.conf", b"hosts: dns\n", True),
        ("/usr/lib/sysusers.d/a.conf", b"u a -\n", True),
        ("/usr/share/doc/a/README", b"hosts: dns\n", False),
    ],
)
def test_text_is_kept_where_programs_are_configured(path: str, data: bytes, kept: bool) -> None:
    assert isinstance(sniff(path, data), Text) is kept
    assert whole(path, data) is kept


def test_a_script_in_etc_stays_a_script() -> None:
    assert isinstance(sniff("/etc/init.d/a", b"#!/bin/sh\n"), Script)


def test_a_record_of_text_is_read_back() -> None:
    facts = Text(("one", "", "ünï"))
    assert read_facts(pack_facts(facts)) == facts
