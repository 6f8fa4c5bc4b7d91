"""Unified diffs: what they change, and what is refused."""

import difflib
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.errors import MalformedFile
from minbuild.formats.unified_diff import apply_hunks, parse_patch

OLD = b"".join(b"line %d\n" % number for number in range(1, 30))
PATCH = b"""From: somebody
Subject: a change

diff --git a/net/tun.c b/net/tun.c
index 1..2 100644
--- a/net/tun.c
+++ b/net/tun.c
@@ -2,3 +2,4 @@ a function
 line 2
-line 3
+line three
+line 3 and a half
 line 4
@@ -28,2 +29,1 @@
 line 28
-line 29
"""


def test_hunks_replace_lines() -> None:
    (change,) = parse_patch(PATCH)
    assert (change.old_path, change.new_path) == ("net/tun.c", "net/tun.c")
    lines = apply_hunks(OLD, change.hunks).splitlines()
    assert lines[:5] == [b"line 1", b"line 2", b"line three", b"line 3 and a half", b"line 4"]
    assert lines[-1] == b"line 28"


def test_a_hunk_is_found_where_its_lines_have_moved() -> None:
    (change,) = parse_patch(PATCH)
    assert apply_hunks(b"new\n" * 7 + OLD, change.hunks).startswith(b"new\n" * 7 + b"line 1\n")


def test_a_hunk_whose_context_differs_is_named() -> None:
    (change,) = parse_patch(PATCH)
    with pytest.raises(MalformedFile, match="the hunk of line 28 does not fit"):
        apply_hunks(OLD.replace(b"line 28", b"line 28!"), change.hunks)


def test_files_are_created_and_removed() -> None:
    created, removed = parse_patch(
        b"--- /dev/null\n+++ b/new/file\n@@ -0,0 +1,2 @@\n+a\n+b\n"
        b"--- a/old\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"
    )
    assert (created.old_path, created.new_path) == ("", "new/file")
    assert apply_hunks(b"", created.hunks) == b"a\nb\n"
    assert (removed.old_path, removed.new_path) == ("old", "")
    assert apply_hunks(b"a\n", removed.hunks) == b""


def test_a_last_line_may_have_no_newline() -> None:
    (change,) = parse_patch(
        b"--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n"
        b"\\ No newline at end of file\n"
    )
    assert apply_hunks(b"a", change.hunks) == b"a\nb"


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        (b"", "changes no file"),
        (b"hello\n", "changes no file"),
        (b"--- a/x\n+++ b/x\n", "no hunk"),
        (b"--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n", "no path below a tree"),
        (b"--- /etc/passwd\n+++ /etc/passwd\n@@ -1 +1 @@\n-a\n+b\n", "no path below a tree"),
        (b"--- a/x\n+++ b/x\n@@ -1,3 +1 @@\n-a\n", "ends too early"),
        (b"--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n-a\n*b\n", "no line of a hunk"),
        (b"--- a/x\n+++ b/x\n@@ -1,1 +1,1 @@\n+a\n+b\n-c\n", "other lines than it says"),
        (b"rename from a\nrename to b\n", "only changes of text"),
        (b"GIT binary patch\n", "only changes of text"),
    ],
)
def test_what_cannot_be_applied_exactly_is_refused(patch: bytes, reason: str) -> None:
    with pytest.raises(MalformedFile, match=reason):
        parse_patch(patch)


LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"\n", b"--- c\n"]), max_size=12)


@given(LINES, LINES)
def test_what_a_diff_says_is_what_comes_out(old: list[bytes], new: list[bytes]) -> None:
    patch = b"".join(
        difflib.diff_bytes(difflib.unified_diff, old, new, b"a/x", b"b/x", lineterm=b"\n")
    )
    if old == new:
        assert patch == b""
        return
    (change,) = parse_patch(patch)
    assert apply_hunks(b"".join(old), change.hunks) == b"".join(new)


@given(st.integers(0, len(PATCH) - 1), st.binary(max_size=3))
def test_a_damaged_patch_is_refused_or_read(place: int, more: bytes) -> None:
    with suppress(MalformedFile):
        for change in parse_patch(PATCH[:place] + more + PATCH[place + 1 :]):
            apply_hunks(OLD, change.hunks)


@pytest.mark.oracle
def test_git_makes_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a/x").write_bytes(OLD)
    changed = OLD.replace(b"line 5\n", b"").replace(b"line 20\n", b"line 20\nmore\n") + b"end"
    (tmp_path / "b/x").write_bytes(changed)
    argv = ["diff", "-u", "a/x", "b/x"]
    made = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False).stdout
    (change,) = parse_patch(made)
    assert apply_hunks(OLD, change.hunks) == changed
