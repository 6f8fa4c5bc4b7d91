"""The first line of scripts, as the kernel reads it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.facts.detect import read_facts, read_script
from minbuild.facts.model import Malformed, Script
from minbuild.process import run_program

LINES = {
    b"#!/bin/sh\n": Script("/bin/sh"),
    b"#!/bin/sh": Script("/bin/sh"),
    b"#! \t/bin/sh \t\necho": Script("/bin/sh"),
    b"#!/bin/sh -e -u\n": Script("/bin/sh", "-e -u"),
    b"#!/usr/bin/env python3\n": Script("/usr/bin/env", "python3"),
    b"#!/usr/bin/env\t-S  a  b \n": Script("/usr/bin/env", "-S  a  b"),
    b"#!python -x\n": Script("python", "-x"),
    b"#!/bin/sh\0-e\n": Script("/bin/sh"),
    b"#!/bin/sh -e\0rest\n": Script("/bin/sh", "-e"),
    b"#!/bin/sh " + b"a" * 300 + b"\n": Script("/bin/sh", "a" * 245),
}


@pytest.mark.parametrize("data", LINES)
def test_a_line_gives_interpreter_and_argument(data: bytes) -> None:
    assert read_facts("/a", data) == LINES[data]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"#!", "names no interpreter"),
        (b"#! \t\n/bin/sh", "names no interpreter"),
        (b"#!/" + b"a" * 300 + b"\n", "cut off after 255 bytes"),
        (b"#!/bin/\xff\n", "not UTF-8"),
        (b"#!/bin/sh\r\n", "control characters"),
    ],
)
def test_a_line_that_no_kernel_runs_is_damaged(data: bytes, reason: str) -> None:
    found = read_facts("/a", data)
    assert isinstance(found, Malformed)
    assert reason in found.reason


@given(st.binary(max_size=300))
def test_any_line_is_a_script_or_damaged(data: bytes) -> None:
    assert isinstance(read_script(b"#!" + data), Script | Malformed)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "line",
    [
        b"#!/bin/echo\n",
        b"#!/bin/echo one  two \t\n",
        b"#! \t/bin/echo\t-a\tb\n",
        b"#!/bin/echo a\0b\n",
        b"#!/bin/echo " + b"x" * 400 + b"\n",
    ],
)
def test_the_kernel_agrees(tmp_path: Path, line: bytes) -> None:
    """The interpreter gets the argument that we read, as one word, and the script's path."""
    found = read_script(line)
    assert isinstance(found, Script)
    place = tmp_path / "script"
    place.write_bytes(line)
    place.chmod(0o755)
    said = run_program([place], purpose="asking the kernel").decode()
    assert said == " ".join(filter(None, [found.argument, f"{place}\n"]))
