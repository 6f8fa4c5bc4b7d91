"""The files that configure a loader, and the cache that it searches."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.facts.config_files import (
    build_ld_cache,
    cache_sort_key,
    canonicalise_name,
    parse_ld_cache,
)
from minbuild.facts.detect import read_facts
from minbuild.facts.model import LoaderConfigLines, Malformed

ROWS = (("libb.so.9", "/a/libb.so.9"), ("libb.so.10", "/a/libb.so.10"), ("liba.so", "/b/liba.so"))


def test_a_configuration_lists_directories_and_what_it_includes() -> None:
    text = b"# c\n/opt/lib/  # mine\ninclude /etc/ld.so.conf.d/*.conf more/*.conf\n\nhwcap 1 x\n/b=libc6\n"
    assert read_facts("/etc/ld.so.conf.d/a.conf", text) == LoaderConfigLines(
        ("/opt/lib", "include /etc/ld.so.conf.d/*.conf", "include more/*.conf", "/b")
    )


def test_preloads_stand_between_blanks_and_colons() -> None:
    assert read_facts(
        "/etc/ld.so.preload", b"liba.so:libb.so # no\n/c/libc.so\n"
    ) == LoaderConfigLines(("liba.so", "libb.so", "/c/libc.so"))


def test_a_cache_says_what_was_written() -> None:
    data = build_ld_cache([*ROWS, ("liba.so", "/c/liba.so")], 0x303)
    assert read_facts("/etc/ld.so.cache", data) == LoaderConfigLines(
        ("771 libb.so.10 /a/libb.so.10", "771 libb.so.9 /a/libb.so.9", "771 liba.so /b/liba.so")
    )


def test_a_cache_behind_an_older_one_is_read() -> None:
    data = build_ld_cache(ROWS, 0x303)
    older = b"ld.so-1.7.0\0" + (1).to_bytes(4, "little") + bytes(12)
    assert read_facts(
        "/etc/ld.so.cache", older + bytes(-len(older) % 8) + data
    ) != LoaderConfigLines(())


@pytest.mark.parametrize("data", [b"", b"nothing", build_ld_cache(ROWS, 0x303)[:90]])
def test_a_damaged_cache_is_a_fact(data: bytes) -> None:
    assert isinstance(read_facts("/etc/ld.so.cache", data), Malformed)


@given(
    changes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4),
    end=st.integers(0, 300),
)
def test_damaged_caches_are_facts_or_damaged(changes: list[tuple[int, int]], end: int) -> None:
    data = bytearray(build_ld_cache(ROWS, 0x303)[end:] or b"x")
    for place, value in changes:
        data[place % len(data)] = value
    assert isinstance(parse_ld_cache(bytes(data)), LoaderConfigLines | Malformed)


def test_of_names_that_are_alike_the_first_is_found() -> None:
    rows = [("libx.so.01", "/a"), ("libx.so.1", "/b"), ("libx.so.01", "/c")]
    assert parse_ld_cache(build_ld_cache(rows, 0x303)) == LoaderConfigLines(
        ("771 libx.so.01 /a", "771 libx.so.1 /b")
    )
    assert (
        canonicalise_name("lib007x00.so.010") == canonicalise_name("lib7x0.so.10") == "lib7x0.so.10"
    )


def test_numbers_in_names_are_ordered_as_numbers() -> None:
    names = ["libx.so.10", "libx.so.9", "libx.so", "libx-1.so", "liba.so.2"]
    assert sorted(names, key=cache_sort_key) == [
        "liba.so.2",
        "libx-1.so",
        "libx.so",
        "libx.so.9",
        "libx.so.10",
    ]


@pytest.mark.skipif(shutil.which("ldconfig", path="/sbin:/usr/sbin") is None, reason="no ldconfig")
def test_ldconfig_reads_the_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(build_ld_cache(ROWS, 0x303))
    program = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    said = subprocess.run(
        [str(program), "-C", tmp_path / "cache", "-p"], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[0] for line in said.splitlines()[1:]][:3] == [
        "libb.so.10", "libb.so.9", "liba.so",
    ]  # fmt: skip
    assert "libb.so.9 (libc6,x86-64) => /a/libb.so.9" in said


def test_this_machines_own_cache_is_sorted_as_ours(tmp_path: Path) -> None:
    place = Path("/etc/ld.so.cache")
    if not place.exists():
        pytest.skip("no cache")
    found = parse_ld_cache(place.read_bytes())
    assert isinstance(found, LoaderConfigLines)
    names = [line.split(" ")[1] for line in found.lines]
    assert len(names) > 5
    assert [cache_sort_key(name) for name in names] == sorted(
        map(cache_sort_key, names), reverse=True
    )
