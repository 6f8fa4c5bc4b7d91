"""What reads a rendered file: a shell, a table of commands, or anything else."""

import re
import shlex
from enum import StrEnum

MARK = "minbuildquotedword"
"""Stands for every quoted value where a script is looked at without its values."""


class Use(StrEnum):
    """What reads a text when it is rendered."""

    TEXT = "text"
    """A text of a document, not a file."""
    FILE = "file"
    SHELL = "shell"
    """A shell script."""
    COMMANDS = "commands"
    """Lines with commands that a shell runs: inittab, crontabs."""


def shell_word(text: str) -> str:
    """A text as one word of a shell script. Source: POSIX.1-2024, 2.2.2."""
    return shlex.quote(text)


SHELLS = ("sh", "dash", "ash", "bash", "ksh", "mksh", "zsh")
_FIRST = re.compile(
    r"#!\s*(?:\S*/)?(?:env\s+(?:-S\s+)?(?:\S*/)?|busybox\s+)?(?:" + "|".join(SHELLS) + r")(?:\s|$)"
)
_DIRECTIVE = re.compile(r"#\s*shellcheck\s+shell=")
_NAMED = re.compile(r"\.(?:" + "|".join(SHELLS) + r")(?:\.(?:j2|jinja2?|tmpl|in))?$")
_SOURCED = re.compile(
    r"/etc/(?:profile|profile\.d/.*|bash\.bashrc|default/.*)|.*/\.(?:profile|bashrc)"
)
_TABLES = re.compile(
    r"/etc/(?:inittab|crontab|cron\.d/.*|mdev\.conf)|/var/spool/cron/(?:crontabs/)?[^/]+"
)


def use_of(path: str, text: str, mode: int, file: str = "") -> Use:
    """What reads a file of this path and text; `file` is the template's name.

    An executable text without a first line that says otherwise is run by a shell. Source:
    POSIX.1-2024, 2.9.1.6; execvp(3).
    """
    if _TABLES.fullmatch(path):
        return Use.COMMANDS
    first = text.partition("\n")[0]
    if first.startswith("#!"):
        return Use.SHELL if _FIRST.match(first) else Use.FILE
    named = _NAMED.search(path) or _NAMED.search(file) or _SOURCED.fullmatch(path)
    shell = named or _DIRECTIVE.match(first) or mode & 0o111
    return Use.SHELL if shell else Use.FILE
