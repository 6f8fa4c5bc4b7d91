"""A component and its variables, for people and programs."""

import textwrap
from collections.abc import Sequence

from minbuild.manifest.described import Described
from minbuild.manifest.types import Value

SCHEMA = "minbuild.component/1"


LINES = ("packages", "files", "cmdline")
"""What stands one on a line; all else is a list of words."""


def as_text(one: Described, width: int) -> str:
    """A page of a component, at most `width` columns wide where words allow it; 0: any width."""
    wide = width or 100
    lines = [f"{one.name}: {one.summary}"]
    if one.about:
        lines += ["", *textwrap.wrap(one.about, wide)]
    lines += _words("needs", one.needs, wide)
    settings = [(f"{name}: {_yaml(value)}", about) for name, value, about in one.variables]
    lines += _table("variables (vars: in a manifest, --set NAME=VALUE)", settings, wide)
    for heading, rows in one.brings.items():
        if heading in LINES:
            lines += _table(heading, [(row, "") for row in rows], wide)
        else:
            lines += _words(heading, rows, wide)
    means = [(name, about and f"fails: {about}") for name, about in one.probes]
    lines += _table("probes of minbuild boot", means, wide)
    return "\n".join([*lines, "", f"written in {one.where}"]) + "\n"


def _words(heading: str, words: Sequence[str], wide: int) -> list[str]:
    text = textwrap.wrap(", ".join(words), wide - 2, break_long_words=False, break_on_hyphens=False)
    return ["", f"{heading}:", *(f"  {line}" for line in text)] if words else []


def _table(heading: str, rows: Sequence[tuple[str, str]], wide: int) -> list[str]:
    left = max((len(first) for first, _ in rows), default=0)
    lines = ["", f"{heading}:"] if rows else []
    for first, rest in rows:
        text = textwrap.wrap(rest, max(wide - left - 4, 20), break_long_words=False)
        lines.append(f"  {first:<{left}}  {text[0]}" if text else f"  {first}")
        lines += [f"{'':{left + 4}}{line}" for line in text[1:]]
    return lines


def _yaml(value: Value) -> str:
    """A default as a manifest writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return f"[{', '.join(value)}]"
        case "":
            return '""'
        case _:
            return str(value)


def as_document(one: Described) -> dict[str, object]:
    """The same as an object for JSON."""
    return {
        "schema": SCHEMA,
        "name": one.name,
        "summary": one.summary,
        "about": one.about,
        "needs": list(one.needs),
        "variables": [
            {"name": name, "default": list(value) if isinstance(value, tuple) else value,
             "meaning": about}
            for name, value, about in one.variables
        ],
        **{key: list(one.brings.get(key, ())) for key in
           ("packages", "applets", "files", "modules", "firmware", "kconfig", "cmdline")},
        "probes": [{"name": name, "means": means} for name, means in one.probes],
        "where": one.where,
    }  # fmt: skip
