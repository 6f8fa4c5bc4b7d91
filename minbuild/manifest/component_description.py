"""Description of a component for people: summary, variables with types, contents and probes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.manifest.components import (
    ComponentPath,
    find_component,
    list_components,
    qualify_name,
)
from minbuild.manifest.document import yaml_reader
from minbuild.manifest.document.nodes import Problems
from minbuild.manifest.document.scalars import Json, ReadContext
from minbuild.manifest.grammar import COMPONENT, DocumentKind, build_json_schema
from minbuild.manifest.input_files import InputFiles, display_path
from minbuild.manifest.model import LocatedName, Section
from minbuild.manifest.raw import RawComponent, VariableDefinition
from minbuild.manifest.variable_types import VariableDeclaration, describe_type, infer_type

_COMMENT = re.compile(
    r"""(?:[^\s#'"]|'[^']*'|"(?:[^"\\]|\\.)*"|(?<=\S)#|[ \t](?!\#)|['"])*+[ \t]\#\s?(.*)"""
)
"""A line with a comment at its end; a # in quotes does not start one. Source: YAML 1.2.2, 6.6."""


@dataclass(frozen=True, slots=True)
class DescribedVariable:
    """A variable of a component."""

    name: str
    meaning: str
    """As declared, or the comment on its line."""
    declaration: VariableDeclaration
    """One that has only a default has the type that its default shows."""


@dataclass(frozen=True, slots=True)
class ComponentDescription:
    """A component with its documentation from comments."""

    name: str
    """section/name."""
    summary: str
    comments: str
    """The comments before its first list or mapping, as one text."""
    needs: tuple[str, ...]
    variables: tuple[DescribedVariable, ...]
    contents: Mapping[str, tuple[str, ...]]
    """packages, applets, files, modules, firmware, kconfig, kernel-options, cmdline, xen-cmdline → rows; empty ones omitted."""
    probes: tuple[tuple[str, str], ...]
    """Name, and meaning of a failure."""
    where: str
    """Its file."""


def describe_component(reference: str, directories: Sequence[Path]) -> ComponentDescription:
    """Describe a component by section/name, or by a name that is unique to a section.

    Raises: UsageError for none or several; ManifestError with every problem of it.
    """
    name, path = find_component(reference, ComponentPath(directories).list_files())
    problems = Problems()
    data = InputFiles(problems).read(path, display_path(path))
    node = None if data is None else yaml_reader.parse_document(data, display_path(path), problems)
    raw = None if node is None else COMPONENT.read(node, ReadContext(problems))
    problems.raise_if_any()
    assert data is not None
    assert raw is not None
    lines = data.decode("utf-8-sig").splitlines()
    section = Section(name.partition("/")[0])
    return ComponentDescription(
        name=name,
        summary=raw.summary,
        comments=_read_leading_comments(lines),
        needs=tuple(qualify_name(need.text, section) for need in raw.needs),
        variables=tuple(_describe_variable(variable, lines) for variable in raw.vars),
        contents={key: rows for key, rows in _list_contents(raw).items() if rows},
        probes=_list_probes(raw, name),
        where=display_path(path),
    )


def _describe_variable(variable: VariableDefinition, lines: Sequence[str]) -> DescribedVariable:
    declaration = variable.declaration or VariableDeclaration(
        variable.value, infer_type(variable.value)
    )
    meaning = declaration.meaning or _read_comment(lines, variable.where.line)
    return DescribedVariable(variable.name, meaning, declaration)


def _read_leading_comments(lines: Sequence[str]) -> str:
    """Return the comment lines at the top of the document as one text."""
    paragraphs: list[str] = []
    for line in lines:
        if line.startswith("#"):
            paragraphs.append(line.lstrip("#").strip())
        elif line.startswith(("summary:", "needs:")) or not line.strip():
            continue
        else:
            break
    return " ".join(filter(None, paragraphs))


def _read_comment(lines: Sequence[str], number: int) -> str:
    """Return the comment at the end of a line; the first line is 1."""
    match = _COMMENT.fullmatch(lines[number - 1])
    return match[1].strip() if match else ""


def _list_contents(raw: RawComponent) -> dict[str, tuple[str, ...]]:
    def list_texts(names: Sequence[LocatedName]) -> tuple[str, ...]:
        return tuple(name.text for name in names)

    return {
        "packages": tuple(
            f"{entry.package}: {path}" for entry in raw.packages for path in entry.paths
        ),
        "applets": list_texts(raw.applets),
        "files": tuple(str(entry.path) for entry in raw.files),
        "modules": list_texts(raw.modules),
        "firmware": list_texts(raw.firmware),
        "kconfig": list_texts(raw.kconfig),
        "kernel-options": list_texts(raw.kernel_options),
        "cmdline": raw.cmdline,
        "xen-cmdline": raw.xen_cmdline,
    }


def _list_probes(raw: RawComponent, name: str) -> tuple[tuple[str, str], ...]:
    probes = (*(() if raw.probe is None else (raw.probe,)), *raw.probes)
    return tuple(
        (probe.text, "")
        if isinstance(probe, LocatedName)
        else (probe.name or name.partition("/")[2], probe.means)
        for probe in probes
    )


def build_manifest_schema(directories: Sequence[Path] = ()) -> Json:
    """Build the JSON Schema of manifests, with the variables of all components, for editors.

    A variable is described, and not checked: another component can declare it with another type.
    """
    schema = build_json_schema(DocumentKind.MANIFEST)
    described: dict[str, Json] = {}
    for component in list_components(directories):
        for variable in describe_component(component.name, directories).variables:
            default = variable.declaration.default
            about = f"{variable.meaning} ({describe_type(variable.declaration)}; {component.name})"
            described.setdefault(
                variable.name,
                {
                    "description": about.strip(),
                    "default": list(default) if isinstance(default, tuple) else default,
                },
            )
    keys = schema["properties"]
    assert isinstance(keys, dict)
    keys["vars"] = {**keys["vars"], "properties": dict(sorted(described.items()))}
    return schema
