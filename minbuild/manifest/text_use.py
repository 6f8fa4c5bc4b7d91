"""Use of a rendered text (shell script, table of commands, other file, text in a document), and
faults of its template."""

import re
import shlex
from dataclasses import dataclass
from enum import StrEnum

QUOTED_MARK = "minbuildquotedword"
"""Placeholder for every quoted value, to examine a script without its values."""


class TextUse(StrEnum):
    """Use of a rendered text, which decides how values must be quoted."""

    TEXT = "text"
    """A text of a document, not a file."""
    FILE = "file"
    SHELL = "shell"
    """A shell script."""
    COMMANDS = "commands"
    """Lines with commands that a shell runs: inittab, crontabs."""


def quote_shell_word(text: str) -> str:
    """Quote a text as one shell word. Source: POSIX.1-2024, 2.2.2."""
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
    """Return the use of a file by path, text and mode; `file` is the name of the template.

    A shell runs an executable text without another interpreter in its first line. Source:
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


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """A fault of a template: message, line and column in its text, and fix."""

    message: str
    line: int
    column: int
    fix: str
    undefined_name: str = ""
    """The undefined variable, if there is one."""


class InvalidTemplate(Exception):
    """A template that cannot be rendered, with its faults in order."""

    def __init__(self, *problems: TemplateProblem) -> None:
        super().__init__(*(fault.message for fault in problems))
        self.problems = problems


def describe_unquoted(line: int, names: str) -> TemplateProblem:
    """Describe a value in a shell script without the filter `quote`; `names` are its variables."""
    first = names.partition(",")[0] or "…"
    return TemplateProblem(
        f"the value of {names or 'an expression'} is used in shell commands without the filter quote",
        line,
        1,
        f"write it as {{{{ {first} | quote }}}}, outside of the script's own quotes; inside of "
        "them, use a shell variable that is set that way",
    )
