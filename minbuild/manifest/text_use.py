"""What reads a rendered file: a shell, a table of commands, or anything else."""

import re
import shlex
from enum import StrEnum

QUOTED_MARK = "minbuildquotedword"
"""Stands for every quoted value where a script is looked at without its values."""


class TextUse(StrEnum):
    """What reads a text when it is rendered."""

    TEXT = "text"
    """A text of a document, not a file."""
    FILE = "file"
    SHELL = "shell"
    """A shell script."""
    COMMANDS = "commands"
    """Lines with commands that a shell runs: inittab, crontabs."""


def quote_shell_word(text: str) -> str:
    """A text as one word of a shell script. Source: POSIX.1-2024, 2.2.2."""
    return shlex.quote(text)


SHELLS = ("sh", "dash", "ash", "bash", "ksh", "mksh", "zsh")
_SHELL_SHEBANG = re.compile(
    r"#!\s*(?:\S*/)?(?:env\s+(?:-S\s+)?(?:\S*/)?|busybox\s+)?(?:" + "|".join(SHELLS) + r")(?:\s|$)"
)
_SHELLCHECK_DIRECTIVE = re.compile(r"#\s*shellcheck\s+shell=")
_SHELL_SUFFIX = re.compile(r"\.(?:" + "|".join(SHELLS) + r")(?:\.(?:j2|jinja2?|tmpl|in))?$")
_SHELL_PATH = re.compile(
    r"/etc/(?:profile|profile\.d/.*|bash\.bashrc|default/.*)|.*/\.(?:profile|bashrc)"
)
_COMMAND_TABLE = re.compile(
    r"/etc/(?:inittab|crontab|cron\.d/.*|mdev\.conf)|/var/spool/cron/(?:crontabs/)?[^/]+"
)


def classify_text(path: str, text: str, mode: int, file: str = "") -> TextUse:
    """What reads a file of this path and text; `file` is the template's name.

    An executable text without a first line that says otherwise is run by a shell. Source:
    POSIX.1-2024, 2.9.1.6; execvp(3).
    """
    if _COMMAND_TABLE.fullmatch(path):
        return TextUse.COMMANDS
    first_line = text.partition("\n")[0]
    if first_line.startswith("#!"):
        return TextUse.SHELL if _SHELL_SHEBANG.match(first_line) else TextUse.FILE
    is_shell_path = (
        _SHELL_SUFFIX.search(path) or _SHELL_SUFFIX.search(file) or _SHELL_PATH.fullmatch(path)
    )
    is_shell = is_shell_path or _SHELLCHECK_DIRECTIVE.match(first_line) or mode & 0o111
    return TextUse.SHELL if is_shell else TextUse.FILE
