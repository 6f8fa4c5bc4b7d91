"""Absolute paths that stand as text in a file: in an ELF object's read-only data, or anywhere in a text.

Source: gABI, "Special Sections" (.rodata); hier(7) for the directories that a path begins with.
"""

import re

from minbuild.facts.damage import Damage
from minbuild.facts.elf import read_only
from minbuild.facts.elftable import Table

LARGEST_TEXT = 1 << 20
"""Bytes of the largest text that is looked through."""
LONGEST = 255
"""Characters of the longest path that counts."""
MOST = 2000
"""Paths of one file; more are a list of files, not what a program opens."""
_PATH = re.compile(
    rb"(?<![A-Za-z0-9_.$%}\]/-])"
    rb"/(?:usr|etc|lib(?:32|64|x32)?|s?bin|var|opt|srv|boot)(?:/+[A-Za-z0-9_.+@,~-]+)+/*"
    rb"(?!\.?[A-Za-z0-9_+@~%$*?{\[/-])"
)
_COMMENT = re.compile(rb"(?m)^[ \t]*(?:#|//|;).*$")


def named_paths(data: bytes) -> tuple[str, ...]:
    """The absolute paths that a file names, sorted, without repeats; () for data of other kinds.

    What goes on as a format, a variable or a glob is no path of a file. In a text, lines that are
    comments do not count.
    """
    if data.startswith(b"\x7fELF"):
        found = _of_elf(data)
    elif _is_text(data):
        found = _in(_COMMENT.sub(b"", data))
    else:
        return ()
    return tuple(sorted(found)) if len(found) <= MOST else ()


def _of_elf(data: bytes) -> set[str]:
    try:
        places = list(read_only(Table(data)))
    except Damage:
        return set()
    return {path for start, end in places for path in _in(data[start : min(end, len(data))])}


def _in(data: bytes) -> set[str]:
    texts = (match[0].decode("ascii") for match in _PATH.finditer(data))
    shortened = (text.rstrip("/.,") for text in texts if len(text) <= LONGEST)
    return {text for text in shortened if "/../" not in text and text.count("/") > 1}


def _is_text(data: bytes) -> bool:
    if not data or len(data) > LARGEST_TEXT or b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
