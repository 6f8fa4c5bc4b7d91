"""Order of versions: kernel releases and package versions.

Source: UAPI group, Version Format Specification (systemd's strverscmp_improved).
"""

import re
from functools import cmp_to_key
from itertools import takewhile

_OTHER = re.compile(r"[^A-Za-z0-9.~^-]+")
_SEPARATORS = "~-^."


def compare_versions(version: str, other: str) -> int:
    """Below, at or above zero as `version` is older than, equal to or newer than `other`."""
    left, right = _OTHER.sub("", version), _OTHER.sub("", other)
    while left or right:
        for mark in _SEPARATORS:
            if mark == "-" and not (left and right):
                return _compare(bool(left), bool(right))
            if mark in (left[:1], right[:1]):
                if left[:1] != right[:1]:
                    return -1 if left[:1] == mark else 1
                left, right = left[1:], right[1:]
        digits = left[:1].isdigit() or right[:1].isdigit()
        a, b = _take_start(left, digits), _take_start(right, digits)
        if a != b:
            if digits and (not a or not b):
                return _compare(bool(a), bool(b))
            order = _compare(int(a), int(b)) if digits else _compare(a, b)
            if order:
                return order
        left, right = left[len(a) :], right[len(b) :]
    return 0


version_key = cmp_to_key(compare_versions)
"""For sorted() and max(): older versions first."""


def _take_start(text: str, digits: bool) -> str:
    if digits:
        return "".join(takewhile(lambda letter: letter in "0123456789", text))
    return "".join(takewhile(lambda letter: letter.isalpha() and letter not in _SEPARATORS, text))


def _compare(value: int | str, other: int | str) -> int:
    return (value > other) - (value < other)  # type: ignore[operator]
