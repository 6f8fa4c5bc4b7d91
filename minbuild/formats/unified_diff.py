"""Unified diffs, as `git diff` and `diff -u` write them: read, and applied exactly.

A hunk is applied where its old lines stand, at its own line or the nearest other one; lines of context that
differ are an error: nothing is guessed. Source: POSIX, diff, "Diff -u Output Format"; git-diff(1).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from minbuild.errors import MalformedFile

_HUNK = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_NOT_A_FILE = "/dev/null"
_REFUSED = (b"GIT binary patch", b"Binary files ", b"rename from ", b"copy from ", b"old mode ")
_NO_NEWLINE = b"\\"


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines in place of others; each with its newline, but a last one may have none."""

    start: int
    """The first old line, from 1; 0 in a file that is created."""
    old: tuple[bytes, ...]
    new: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FileChange:
    """The hunks of one file."""

    old_path: str
    """Below the tree, its first directory taken off; "" where the file is created."""
    new_path: str
    """ "" where the file is removed."""
    hunks: tuple[Hunk, ...]


def parse_patch(data: bytes) -> tuple[FileChange, ...]:
    """Read a patch: what stands before a file's header is text for people.

    Raises: MalformedFile for one without changes, for binary changes, renames and changes of modes, for a
    hunk that is shorter than it says, and for paths that leave the tree.
    """
    lines = data.splitlines(keepends=True)
    changes = []
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.startswith(_REFUSED):
            raise MalformedFile(f"line {number + 1}: only changes of text are applied")
        following = lines[number + 1] if number + 1 < len(lines) else b""
        if line.startswith(b"--- ") and following.startswith(b"+++ "):
            old_path, new_path = _read_path(line), _read_path(following)
            hunks, number = _read_hunks(lines, number + 2)
            if not hunks or not (old_path or new_path):
                raise MalformedFile(f"line {number}: a file's header has no hunk")
            changes.append(FileChange(old_path, new_path, hunks))
        else:
            number += 1
    if not changes:
        raise MalformedFile("it changes no file")
    return tuple(changes)


def _read_path(line: bytes) -> str:
    text = line[4:].decode("utf-8", "surrogateescape").rstrip("\r\n").partition("\t")[0].rstrip()
    if text == _NOT_A_FILE:
        return ""
    parts = text.split("/")[1:]
    if not parts or text.startswith("/") or any(part in {"", ".", ".."} for part in parts):
        raise MalformedFile(f"{text} is no path below a tree: write a/drivers/net/tun.c")
    return "/".join(parts)


def _read_hunks(lines: Sequence[bytes], number: int) -> tuple[tuple[Hunk, ...], int]:
    hunks = []
    while number < len(lines) and (match := _HUNK.match(lines[number])):
        old_count, new_count = (int(match[group] or b"1") for group in (2, 4))
        old: list[bytes] = []
        new: list[bytes] = []
        start = number + 1
        number += 1
        while len(old) < old_count or len(new) < new_count:
            if number >= len(lines):
                raise MalformedFile(f"line {start}: the hunk ends too early")
            line = lines[number]
            sides = {b" ": (old, new), b"\n": (old, new), b"-": (old,), b"+": (new,)}.get(line[:1])
            if sides is not None:
                for side in sides:  # an empty line of context may have lost its blank
                    side.append(line if line[:1] == b"\n" else line[1:])
            elif not (line.startswith(_NO_NEWLINE) and _strip_newline(lines[number - 1], old, new)):
                raise MalformedFile(f"line {number + 1}: this is no line of a hunk")
            number += 1
        if number < len(lines) and lines[number].startswith(_NO_NEWLINE):
            _strip_newline(lines[number - 1], old, new)
            number += 1
        if (len(old), len(new)) != (old_count, new_count):
            raise MalformedFile(f"line {start}: the hunk has other lines than it says")
        hunks.append(Hunk(int(match[1]), tuple(old), tuple(new)))
    return tuple(hunks), number


def _strip_newline(line: bytes, old: list[bytes], new: list[bytes]) -> bool:
    """Take the newline off the last line, after `\\ No newline at end of file`."""
    for mark, side in ((b"-", old), (b"+", new)):
        if side and line[:1] in {mark, b" "}:
            side[-1] = side[-1].rstrip(b"\n")
    return bool(old or new)


def apply_hunks(data: bytes, hunks: Sequence[Hunk]) -> bytes:
    """The content that a file has after its hunks. Raises: MalformedFile naming the hunk that fits nowhere."""
    lines = data.splitlines(keepends=True)
    result: list[bytes] = []
    done, shift = 0, 0
    for hunk in hunks:
        expected = max(hunk.start - 1 + shift, 0) if hunk.old else hunk.start + shift
        place = _find_place(lines, hunk.old, done, expected)
        if place is None:
            raise MalformedFile(f"the hunk of line {hunk.start} does not fit")
        shift += place - expected
        result += [*lines[done:place], *hunk.new]
        done = place + len(hunk.old)
    return b"".join([*result, *lines[done:]])


def _find_place(
    lines: Sequence[bytes], old: Sequence[bytes], first: int, expected: int
) -> int | None:
    """Where the old lines stand, nearest to where they are expected, at or behind `first`."""
    last = len(lines) - len(old)
    wanted = list(old)
    for place in _list_places(first, last, expected):
        if list(lines[place : place + len(wanted)]) == wanted:
            return place
    return None


def _list_places(first: int, last: int, expected: int) -> Iterator[int]:
    for distance in range(max(abs(expected - first), abs(last - expected)) + 1):
        for place in {expected - distance, expected + distance}:
            if first <= place <= last:
                yield place
