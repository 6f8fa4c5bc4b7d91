"""Absolute paths in the text of a file: in an ELF file's read-only data, or anywhere in a text file.

Source: gABI, "Special Sections" (.rodata); hier(7) for the directories that a path begins with.
"""

import re

from minbuild.errors import MalformedFile
from minbuild.facts.elf_facts import find_read_only_data
from minbuild.formats import magic
from minbuild.formats.elf_file import ElfFile

MAX_TEXT_SIZE = 1 << 20
"""Bytes of the largest text that is looked through."""
MAX_PATH_LENGTH = 255
"""Characters of the longest path that counts."""
MAX_PATHS = 2000
"""Paths of one file; more are a list of files, not what a program opens."""
_PATH = re.compile(
    rb"(?<![A-Za-z0-9_.$%}\]/-])"
    rb"/(?:usr|etc|lib(?:32|64|x32)?|s?bin|var|opt|srv|boot)(?:/+[A-Za-z0-9_.+@,~-]+)+/*"
    rb"(?!\.?[A-Za-z0-9_+@~%$*?{\[/-])"
)
_COMMENT = re.compile(rb"(?m)^[ \t]*(?:#|//|;).*$")


def find_named_paths(data: bytes) -> tuple[str, ...]:
    """The absolute paths that a file names, sorted, without repeats; () for data of other kinds.

    What goes on as a format, a variable or a glob is no path of a file. In a text, lines that are
    comments do not count.
    """
    if data.startswith(magic.ELF):
        paths = _find_in_elf(data)
    elif _is_text(data):
        paths = _find_paths(_COMMENT.sub(b"", data))
    else:
        return ()
    return tuple(sorted(paths)) if len(paths) <= MAX_PATHS else ()


def _find_in_elf(data: bytes) -> set[str]:
    try:
        ranges = find_read_only_data(ElfFile(data))
    except MalformedFile:
        return set()
    return {
        path for start, end in ranges for path in _find_paths(data[start : min(end, len(data))])
    }


def _find_paths(data: bytes) -> set[str]:
    texts = (match[0].decode("ascii") for match in _PATH.finditer(data))
    shortened = (text.rstrip("/.,") for text in texts if len(text) <= MAX_PATH_LENGTH)
    return {text for text in shortened if "/../" not in text and text.count("/") > 1}


def _is_text(data: bytes) -> bool:
    if not data or len(data) > MAX_TEXT_SIZE or b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
