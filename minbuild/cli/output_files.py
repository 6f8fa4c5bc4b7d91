"""Results of a command, written to stdout or to files, each file whole or not at all."""

from collections.abc import Callable, Mapping
from pathlib import Path

import click

from minbuild.cli.console import escape_for_terminal, get_terminal_width
from minbuild.errors import UsageError
from minbuild.file_io import translate_disk_errors, write_atomic

STDOUT = "-"
Renderer = Callable[[], str]
FormatTargets = Mapping[str, str | None]
"""Format → the file that its option names, `-` for stdout, None when it is not asked for."""


def is_text_shown(targets: FormatTargets) -> bool:
    """Tell whether text goes to stdout, alone or among others."""
    return targets.get("text") == STDOUT or not any(targets.values())


def find_text_width(targets: FormatTargets) -> int:
    """Columns of the terminal that text goes to; 0 for no limit."""
    return get_terminal_width() if is_text_shown(targets) else 0


def write_formats(renderers: Mapping[str, Renderer], targets: FormatTargets) -> None:
    """Write every format that was asked for; text on stdout when none was.

    A line on stderr names each file.
    Raises: UsageError for two formats on stdout; ToolError for a file that cannot be written.
    """
    files_by_format = {name: target for name, target in targets.items() if target is not None}
    files_by_format = files_by_format or {"text": STDOUT}
    if list(files_by_format.values()).count(STDOUT) > 1:
        raise UsageError(
            "two formats would be written to stdout", fix="name a file for one: --json FILE"
        )
    texts = {name: renderers[name]() for name in files_by_format}
    for name, target in files_by_format.items():
        write_text(target, texts[name])


def write_text(target: str | Path, text: str, *, announce: bool = True) -> None:
    """Write a text to a file, or to stdout for `-`; a line on stderr names the file.

    Raises: ToolError for a file that cannot be written.
    """
    if str(target) == STDOUT:
        click.echo(text, nl=False)
        return
    path = Path(target)
    with translate_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())
    if announce:
        click.echo(f"wrote {escape_for_terminal(str(target))}", err=True)
