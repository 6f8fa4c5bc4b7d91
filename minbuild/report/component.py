"""Component with its variables as text and JSON."""

import textwrap
from collections.abc import Sequence

from minbuild.manifest.component_description import ComponentDescription, DescribedVariable
from minbuild.manifest.model import VariableValue
from minbuild.manifest.variable_types import describe_type

SCHEMA = "minbuild.component/1"


LINE_LISTS = ("packages", "files", "cmdline", "xen-cmdline")
"""Contents that have a line each; others are lists of words."""


UNNAMED_TYPES = ("text", "boolean", "number", "list of text")
"""Types that a default shows by itself."""


def render_component(component: ComponentDescription, width: int) -> str:
    """A page of a component, at most `width` columns wide where words allow it; 0: any width."""
    line_width = width or 100
    lines = [f"{component.name}: {component.summary}"]
    if component.comments:
        lines += ["", *textwrap.wrap(component.comments, line_width)]
    lines += _render_list("needs", component.needs, line_width)
    settings = [
        (f"{one.name}: {format_default(one.declaration.default)}", _describe(one))
        for one in component.variables
    ]
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


def _describe(variable: DescribedVariable) -> str:
    """Meaning and type; a text or a boolean needs no word for its type."""
    kind = describe_type(variable.declaration)
    if kind in UNNAMED_TYPES:
        return variable.meaning
    return f"{variable.meaning} ({kind})" if variable.meaning else kind


def _variable_to_json(variable: DescribedVariable) -> dict[str, object]:
    declaration = variable.declaration
    default = declaration.default
    row: dict[str, object] = {
        "name": variable.name,
        "type": str(declaration.type),
        "default": list(default) if isinstance(default, tuple) else default,
        "meaning": variable.meaning,
        "required": declaration.required,
    }
    bounds = {"min": declaration.min, "max": declaration.max}
    row |= {key: bound for key, bound in bounds.items() if bound is not None}
    return row | ({"choices": list(declaration.choices)} if declaration.choices else {})


def format_default(value: VariableValue) -> str:
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
            _variable_to_json(one) for one in component.variables
        ],
        **{key: list(component.contents.get(key, ())) for key in
           ("packages", "applets", "files", "modules", "firmware", "kconfig", "kernel-options", "cmdline", "xen-cmdline")},
        "probes": [{"name": name, "means": means} for name, means in component.probes],
        "where": component.where,
    }  # fmt: skip
