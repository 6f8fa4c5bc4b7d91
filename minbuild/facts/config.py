"""Configuration files as lines of text, for rules that look for names in them."""

from minbuild.facts.types import Text

LARGEST = 64 << 10
"""Bytes of the largest file that is kept as text; the lists in /etc that are larger name nothing."""


def text(data: bytes) -> Text | None:
    """Read lines; None for what is too large or no text."""
    if len(data) > LARGEST or b"\0" in data:
        return None
    try:
        plain = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    lines: list[str] = []
    open_at = -1
    for line in plain.split("\n"):
        if open_at >= 0:
            lines[open_at] += line.lstrip()
            lines.append("")
        else:
            lines.append(line)
            open_at = len(lines) - 1
        if lines[open_at].endswith("\\"):
            lines[open_at] = lines[open_at][:-1]
        else:
            open_at = -1
    while lines and not lines[-1]:
        lines.pop()
    return Text(tuple(lines))
