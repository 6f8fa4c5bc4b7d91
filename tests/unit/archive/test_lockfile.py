import dataclasses
import difflib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.archive import lockfile
from minbuild.archive.model import Lock, LockedSuite, Package
from minbuild.errors import ArchiveError, ToolError

PLACE = Path("host.lock")
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
numbers = st.integers(0, 1 << 60)
paths = st.lists(st.text("abc+-_~", min_size=1), min_size=1, max_size=4).map("/".join)
roots = st.sampled_from(["debian", "debian-security"])
names = st.text("abcz09", min_size=1, max_size=9)
versions = st.text("0123.+~-aZ", min_size=1, max_size=9)
packages = st.builds(
    Package, names, versions, names, roots, paths, numbers, digests, words | st.just("")
)
listed = st.lists(packages, max_size=4, unique_by=lambda one: one.name).map(
    lambda rows: tuple(sorted(rows, key=lambda one: one.name))
)
suites = st.lists(st.builds(LockedSuite, words, roots, numbers, digests), max_size=3).map(tuple)
locks = st.builds(Lock, words, suites, listed, listed)


def refusal(text: str) -> ArchiveError | None:
    """The error that a lock's text gives; None when it is a lock."""
    try:
        lockfile.parse_lock(text, PLACE)
    except ArchiveError as error:
        return error
    return None


def package(name: str, version: str = "1.0") -> Package:
    return Package(name, version, "amd64", "debian", f"pool/{name}_{version}.deb", 10, "a" * 64)


LOCK = Lock(
    "amd64",
    (LockedSuite("trixie", "debian", 1_789_199_741, "b" * 64),),
    (package("a"), package("b"), package("c")),
    (package("t"),),
)


@given(locks)
def test_reading_what_was_rendered_gives_the_same_lock(lock: Lock) -> None:
    assert lockfile.parse_lock(lockfile.render_lock(lock), PLACE) == lock


@given(st.data())
def test_a_damaged_lock_gives_an_error_of_the_archive_or_a_lock(data: st.DataObject) -> None:
    text = lockfile.render_lock(LOCK)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    put = data.draw(st.text(st.sampled_from('{}[]",:0123456789abc\\ \n-'), max_size=8))
    error = refusal(text[:start] + put + text[end:])
    assert error is None or ("host.lock" in error.where and "minbuild lock" in error.fix)


@given(
    st.recursive(
        st.none() | st.booleans() | numbers | words,
        lambda one: st.lists(one) | st.dictionaries(words, one),
    )
)
def test_any_json_in_a_lists_place_gives_only_an_error_of_the_archive(value: object) -> None:
    for key in ("packages", "suites", "arch"):
        found = json.loads(lockfile.render_lock(LOCK)) | {key: [value] if key != "arch" else value}
        error = refusal(json.dumps(found))
        assert error is None or error.exit_code == 4


def test_the_order_of_packages_does_not_matter() -> None:
    turned = dataclasses.replace(LOCK, packages=LOCK.packages[::-1])
    assert lockfile.render_lock(turned) == lockfile.render_lock(LOCK)


def test_a_new_version_of_one_package_is_a_change_of_one_line() -> None:
    newer = dataclasses.replace(LOCK, packages=(package("a"), package("b", "2.0"), package("c")))
    old, new = (lockfile.render_lock(lock).splitlines() for lock in (LOCK, newer))
    changed = [
        line
        for line in difflib.unified_diff(old, new, n=0)
        if line[:3] not in {"---", "+++", "@@ "}
    ]
    assert [line[0] for line in changed] == ["-", "+"]


def test_a_lock_names_no_host() -> None:
    assert "://" not in lockfile.render_lock(LOCK)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("minbuild.lock/1", "minbuild.lock/9", "schema is not minbuild.lock/1"),
        ('"arch": "amd64",\n', "", "missing field 'arch'"),
        ('"arch": "amd64",\n', '"arch": "amd64", "more": 1,\n', "unknown field 'more'"),
        ('"size": 10', '"size": "10"', "size is not a number"),
        ('"size": 10', '"size": -1', "size is negative"),
        ('"size": 10', '"weight": 10', "unknown field 'weight'"),
        ("a" * 64, "A" * 64, "sha256 is not 64 hex digits"),
        ("pool/a_", "../pool/a_", "path is outside of the mirror"),
        ('"name": "b"', '"name": "a"', "a is in the lock twice"),
        ('"root": "debian"', '"root": "../x"', "invalid archive name"),
        (
            '"root": "debian", "path": "pool/',
            '"root": "", "path": "/pool/',
            "path names a local file",
        ),
        (
            '"root": "debian", "path": "pool/',
            '"root": "", "path": "pool/',
            "path names a local file",
        ),
        ('"version": "1.0"', '"version": "1.0\\u001b[2J"', "invalid package version"),
        ('"name": "b"', '"name": "b c"', "invalid package name"),
    ],
)
def test_what_is_wrong_with_a_lock_is_said_with_its_place(old: str, new: str, what: str) -> None:
    text = lockfile.render_lock(LOCK)
    assert old in text
    with pytest.raises(ArchiveError) as caught:
        lockfile.parse_lock(text.replace(old, new), PLACE)
    said = [caught.value, *caught.value.also]
    assert any(what in one.what for one in said)
    assert all(one.where.startswith("host.lock") and one.fix for one in said)


def test_every_problem_of_a_lock_is_told_at_once() -> None:
    text = lockfile.render_lock(LOCK).replace('"size": 10', '"size": -1')
    with pytest.raises(ArchiveError) as caught:
        lockfile.parse_lock(text, PLACE)
    places = [one.where for one in (caught.value, *caught.value.also)]
    assert places == [f"host.lock (packages[{n}])" for n in range(3)] + ["host.lock (toolbox[0])"]


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 100_000, b"null", b'{"schema": 1}'])
def test_a_file_that_is_no_lock_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "host.lock").write_bytes(data)
    with pytest.raises(ArchiveError):
        lockfile.read_lock(tmp_path / "host.lock")


def test_a_written_lock_is_whole_and_alone_in_its_directory(tmp_path: Path) -> None:
    place = tmp_path / "host.lock"
    place.write_text("old")
    lockfile.write_lock(place, LOCK)
    assert lockfile.read_lock(place) == LOCK
    assert [path.name for path in tmp_path.iterdir()] == ["host.lock"]


def test_a_directory_that_is_not_there_is_an_error_of_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="cannot write"):
        lockfile.write_lock(tmp_path / "nowhere" / "host.lock", LOCK)
