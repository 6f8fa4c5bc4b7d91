"""How a file's bytes show what they add to an attack surface."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.facts.file_hardening import DATA, UNREADABLE, Hardening, read_hardening

REAL = Path(sys.executable).resolve().read_bytes()[:400_000]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", DATA),
        (b"hello", DATA),
        (b"\x7fELF", UNREADABLE),
        (REAL[:200], UNREADABLE),
        (b"#!/bin/sh\n", Hardening("script", interpreter="/bin/sh")),
        (b"#! /usr/bin/env python3\n", Hardening("script", interpreter="/usr/bin/env")),
        (b"#!\n", Hardening("script")),
    ],
)
def test_scripts_and_data_are_told_apart(data: bytes, found: Hardening) -> None:
    assert read_hardening(data) == found


def test_a_real_program_is_an_elf_object_with_exports() -> None:
    found = read_hardening(Path(sys.executable).resolve().read_bytes())
    assert found.sort == "elf"
    assert set(found.lacks) <= {"pie", "relro", "bind-now", "canary", "fortify", "nx"}
    assert "nx" not in found.lacks


@pytest.mark.parametrize(
    "patched",
    [
        pytest.param(REAL[:4] + b"\x07" + REAL[5:], id="a class that is none"),
        pytest.param(REAL[:5] + b"\x02" + REAL[6:], id="the other byte order"),
        pytest.param(REAL[:54] + b"\0\0" + REAL[56:], id="no size of program headers"),
    ],
)
def test_what_the_kernel_may_run_is_never_data(patched: bytes) -> None:
    """Linux looks at no class and no byte order. Source: fs/binfmt_elf.c, load_elf_binary."""
    assert read_hardening(patched) in (UNREADABLE, Hardening("elf", listens="static"))


def test_an_object_file_is_data() -> None:
    assert read_hardening(REAL[:16] + b"\x01\0" + REAL[18:]) == DATA


@given(
    at=st.integers(0, 4096), patch=st.binary(min_size=1, max_size=16), end=st.integers(0, 400_000)
)
def test_a_damaged_object_gives_traits_or_data(at: int, patch: bytes, end: int) -> None:
    assert read_hardening((REAL[:at] + patch + REAL[at + len(patch) :])[:end]).sort in {
        "elf",
        "data",
        "script",
    }
