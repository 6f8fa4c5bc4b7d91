"""Component with its variables as text and JSON."""

import textwrap
from collections.abc import Sequence

from minbuild.manifest.components import ComponentDescription
from minbuild.manifest.model import VariableValue

SCHEMA = "minbuild.component/1"


LINE_LISTS = ("packages", "files", "cmdline", "xen-cmdline")
"""Contents that have a line each; others are lists of words."""


def render_component(component: ComponentDescription, width: int) -> str:
    """A page of a component, at most `width` columns wide where words allow it; 0: any width."""
    line_width = width or 100
    lines = [f"{component.name}: {component.summary}"]
    if component.comments:
        lines += ["", *textwrap.wrap(component.comments, line_width)]
    lines += _render_list("needs", component.needs, line_width)
    settings = [(f"{name}: {_to_yaml(value)}", about) for name, value, about in component.variables]
    lines += _render_table(
        "variables (vars: in a manifest, --set NAME=VALUE)", settings, line_width
    )
    for heading, rows in component.contents.items():
        if heading in LINE_LISTS:
            lines += _render_table(heading, [(row, "") for row in rows], line_width)
        else:
            lines += _render_list(heading, rows, line_width)
    probe_rows = [(name, about and f"fails: {about}") for name, about in component.probes]
    lines += _render_table("probes of minbuild boot", probe_rows, line_width)
    return "\n".join([*lines, "", f"written in {component.where}"]) + "\n"


def _render_list(heading: str, items: Sequence[str], line_width: int) -> list[str]:
    text = textwrap.wrap(
        ", ".join(items), line_width - 2, break_long_words=False, break_on_hyphens=False
    )
    return ["", f"{heading}:", *(f"  {line}" for line in text)] if items else []


def _render_table(heading: str, rows: Sequence[tuple[str, str]], line_width: int) -> list[str]:
    name_width = max((len(name) for name, _ in rows), default=0)
    lines = ["", f"{heading}:"] if rows else []
    for name, description in rows:
        text = textwrap.wrap(
            description, max(line_width - name_width - 4, 20), break_long_words=False
        )
        lines.append(f"  {name:<{name_width}}  {text[0]}" if text else f"  {name}")
        lines += [f"{'':{name_width + 4}}{line}" for line in text[1:]]
    return lines


def _to_yaml(value: VariableValue) -> str:
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


def component_to_json(component: ComponentDescription) -> dict[str, object]:
    """The same as an object for JSON."""
    return {
        "schema": SCHEMA,
        "name": component.name,
        "summary": component.summary,
        "about": component.comments,
        "needs": list(component.needs),
        "variables": [
            {"name": name, "default": list(value) if isinstance(value, tuple) else value,
             "meaning": about}
            for name, value, about in component.variables
        ],
        **{key: list(component.contents.get(key, ())) for key in
           ("packages", "applets", "files", "modules", "firmware", "kconfig", "cmdline", "xen-cmdline")},
        "probes": [{"name": name, "means": means} for name, means in component.probes],
        "where": component.where,
    }  # fmt: skip
