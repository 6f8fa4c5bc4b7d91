"""Variables: precedence of values, and rendering of those that use others."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from minbuild.manifest import templates
from minbuild.manifest.document import yaml_reader
from minbuild.manifest.document.nodes import (
    TEMPLATE_MARK,
    Node,
    Problems,
    ScalarKind,
    ScalarNode,
    SequenceNode,
    suggest,
)
from minbuild.manifest.document.scalars import Integer, Json, ReadContext, Text, report_wrong_type
from minbuild.manifest.model import Location, VariableValue
from minbuild.manifest.raw import VariableDefinition
from minbuild.manifest.runtime_variables import READER
from minbuild.manifest.text_use import InvalidTemplate
from minbuild.manifest.variable_types import check_value, is_empty


@dataclass(frozen=True, slots=True)
class _Assignment:
    value: VariableValue
    where: Location | str


def resolve_variables(
    builtin: Mapping[str, VariableValue],
    defaults: Sequence[VariableDefinition],
    definitions: Sequence[VariableDefinition],
    settings: Mapping[str, str],
    problems: Problems,
) -> dict[str, VariableValue]:
    """Resolve all variables, sorted by name: --set overrides the manifest, which overrides defaults."""
    assignments = _assign_values(builtin, defaults, definitions, problems)
    for name, text in sorted(settings.items()):
        _apply_setting(name, text, assignments, builtin, problems)
    for name in builtin:
        assignments[name] = _Assignment(builtin[name], "")
    return _VariableRenderer(assignments, problems).render_all()


def read_setting(
    name: str,
    text: str,
    builtin: Mapping[str, VariableValue],
    defaults: Sequence[VariableDefinition],
    definitions: Sequence[VariableDefinition],
) -> VariableValue:
    """Read the value of a --set by the type of its variable.

    Raises: ManifestError for an unknown variable, or another type.
    """
    assignments = _assign_values(builtin, defaults, definitions, Problems())
    problems = Problems()
    _apply_setting(name, text, assignments, builtin, problems)
    problems.raise_if_any()
    return assignments[name].value


def _assign_values(
    builtin: Mapping[str, VariableValue],
    defaults: Sequence[VariableDefinition],
    definitions: Sequence[VariableDefinition],
    problems: Problems,
) -> dict[str, _Assignment]:
    """The value of each variable as the documents have it."""
    assignments: dict[str, _Assignment] = {}
    overridden = {variable.name for variable in definitions}
    for variable in defaults:
        _check_name(variable, builtin, problems)
        assignment = assignments.setdefault(
            variable.name, _Assignment(variable.value, variable.where)
        )
        if not _is_same(assignment.value, variable.value) and variable.name not in overridden:
            problems.add(
                f"the variable {variable.name!r} has another default at {assignment.where}",
                variable.where,
                f"rename it, or set {variable.name} under the manifest's vars:",
            )
    for variable in definitions:
        _check_name(variable, builtin, problems)
        default = assignments.get(variable.name)
        if default is not None and _name_type(default.value) != _name_type(variable.value):
            problems.add(
                f"{variable.name} is {_name_type(variable.value)}, its default {_name_type(default.value)}",
                variable.where,
                f"write {_name_type(default.value)}, as at {default.where}",
            )
        assignments[variable.name] = _Assignment(variable.value, variable.where)
    return assignments


@dataclass(frozen=True, slots=True)
class DeclaredVariables:
    """The declarations of a host's components, held against the values of its variables."""

    declarations: Sequence[VariableDefinition]
    """Of all components; those without a type are left out."""
    places: Mapping[str, Location | str]
    """Variable → where its value is written: a line, or `--set`."""
    components: Collection[str]
    """Components of the host, as section/name."""

    def check(
        self, values: Mapping[str, VariableValue], manifest: str, problems: Problems
    ) -> tuple[str, ...]:
        """Add a problem for each value that is not of its type; return notes of empty ones.

        `manifest`: its file, for values that are missing.
        """
        notes: dict[str, None] = {}
        for variable in self.declarations:
            declaration, name = variable.declaration, variable.name
            if declaration is None or name not in values:
                continue
            value = values[name]
            if not is_empty(value):
                problem = check_value(declaration, value)
                if problem is not None:
                    where = self.places.get(name, variable.where)
                    problems.add(f"{name}: {problem.message}", where, problem.fix)
            elif declaration.required and declaration.unless not in self.components:
                other = f", or use {declaration.unless}" if declaration.unless else ""
                example = "[…]" if isinstance(value, tuple) else "…"
                problems.add(
                    f"{variable.component} needs a value of {name} ({declaration.meaning or declaration.type})",
                    manifest,
                    f"write vars: {{{name}: {example}}}, or --set '{name}={example}'{other}",
                )
            elif declaration.empty and not (declaration.runtime and READER in self.components):
                notes[f"{variable.component}: {name} is empty: {declaration.empty}"] = None
        return tuple(notes)


def find_places(
    defaults: Sequence[VariableDefinition],
    definitions: Sequence[VariableDefinition],
    settings: Mapping[str, str],
) -> dict[str, Location | str]:
    """Where the value of each variable is written: the last place wins."""
    places: dict[str, Location | str] = {one.name: one.where for one in defaults}
    places |= {one.name: one.where for one in definitions}
    return places | {name: f"--set {name}={text}" for name, text in settings.items()}


def report_unused(
    definitions: Sequence[VariableDefinition],
    defaults: Sequence[VariableDefinition],
    template_words: Collection[str],
    problems: Problems,
) -> None:
    """Add a problem for each variable of the manifest that nothing uses."""
    default_names = {variable.name for variable in defaults}
    texts = [str(variable.value) for variable in (*definitions, *defaults)]
    template_texts = " ".join(text for text in texts if TEMPLATE_MARK.search(text))
    used = {*default_names, *template_words, *re.findall("[A-Za-z_][A-Za-z0-9_]*", template_texts)}
    for variable in definitions:
        if variable.name not in used:
            fix = suggest(variable.name, default_names, otherwise="remove it, or use it")
            problems.add(f"nothing uses the variable {variable.name!r}", variable.where, fix)


def _check_name(
    variable: VariableDefinition, builtin: Mapping[str, VariableValue], problems: Problems
) -> None:
    if variable.name in builtin:
        fix = (
            f"its value is the manifest's {variable.name}:; use another name"
            if isinstance(builtin[variable.name], str)
            else "its value is what the components declare; use another name"
        )
        problems.add(f"{variable.name!r} is always defined", variable.where, fix)
    elif variable.name in templates.RESERVED_WORDS:
        fix = "use another name"
        problems.add(f"{variable.name!r} is a reserved word of templates", variable.where, fix)


def _apply_setting(
    name: str,
    text: str,
    assignments: dict[str, _Assignment],
    builtin: Mapping[str, VariableValue],
    problems: Problems,
) -> None:
    """Apply one --set."""
    origin = f"--set {name}={text}"
    if name in builtin:
        problems.add(f"{name!r} cannot be set", origin, f"write {name}: in the manifest")
        return
    if name not in assignments:
        fix = suggest(name, assignments, otherwise="declare it under the manifest's vars:")
        problems.add(f"no variable is named {name!r}", origin, fix)
        return
    declared = assignments[name].value
    value = _parse_setting(text, declared)
    if value is None or _name_type(value) != _name_type(declared):
        example = {bool: "true", int: "5", tuple: "[a, b]"}.get(type(declared), f'"{text}"')
        problems.add(
            f"{name} is {_name_type(declared)}, but {text!r} is not",
            origin,
            f"write it like --set '{name}={example}'",
        )
        return
    assignments[name] = _Assignment(value, origin)


def _parse_setting(text: str, declared: VariableValue) -> VariableValue | None:
    """Parse the value of a --set as YAML; None if it is invalid."""
    if not text.strip() or TEMPLATE_MARK.match(text):
        return text
    scratch = Problems()
    node = yaml_reader.parse_document(text.encode(errors="surrogateescape"), "--set", scratch)
    if node is None or len(scratch):
        return None
    if isinstance(declared, str) and isinstance(node, ScalarNode):
        return node.text
    return VariableShape().read(node, ReadContext(scratch))


def _name_type(value: VariableValue) -> str:
    match value:
        case bool():
            return "true or false"
        case int():
            return "a whole number"
        case str():
            return "text"
        case tuple():
            return "a list of texts"


def _is_same(value: VariableValue, other: VariableValue) -> bool:
    return value == other and _name_type(value) == _name_type(other)


class _VariableRenderer:
    """Renders variables that use others, each after those it uses."""

    def __init__(self, assignments: Mapping[str, _Assignment], problems: Problems) -> None:
        self._assignments = assignments
        self._problems = problems
        self._values: dict[str, VariableValue] = {}
        self._chain: list[str] = []

    def render_all(self) -> dict[str, VariableValue]:
        """Return all values, sorted by name."""
        for name in self._assignments:
            self._render_variable(name)
        return dict(sorted(self._values.items()))

    def _render_variable(self, name: str) -> None:
        if name in self._values:
            return
        if name in self._chain:
            circle = [*self._chain[self._chain.index(name) :], name]
            self._problems.add(
                f"variables use each other in a circle: {' → '.join(circle)}",
                self._assignments[name].where,
                "give one of them a value of its own",
            )
            self._values.update(dict.fromkeys(circle, ""))
            return
        self._chain.append(name)
        value = self._render_value(self._assignments[name])
        self._values.setdefault(name, value)
        self._chain.pop()

    def _render_value(self, assignment: _Assignment) -> VariableValue:
        match assignment.value:
            case str():
                return self._render_text(assignment.value, assignment.where)
            case tuple():
                return tuple(self._render_text(text, assignment.where) for text in assignment.value)
            case _:
                return assignment.value

    def _render_text(self, text: str, where: Location | str) -> str:
        try:
            for name in sorted(templates.find_variables(text) & self._assignments.keys()):
                self._render_variable(name)
            visible = {**dict.fromkeys(self._assignments, ""), **self._values}
            return templates.render_template(text, visible)
        except InvalidTemplate as error:
            for fault in error.problems:
                self._problems.add(fault.message, where, fault.fix)
            return ""


class VariableShape:
    """A variable's value: text, a whole number, true or false, or a list of texts."""

    def read(self, node: Node, context: ReadContext) -> VariableValue | None:
        if isinstance(node, SequenceNode):
            texts = [Text(template=False).read(item, context) for item in node.nodes]
            return tuple(text for text in texts if text is not None)
        if isinstance(node, ScalarNode):
            match node.kind:
                case ScalarKind.TEXT:
                    return node.text
                case ScalarKind.INTEGER:
                    return Integer(-(2**63), 2**63 - 1).read(node, context)
                case ScalarKind.BOOLEAN:
                    return node.text.lower() == "true"
                case _:
                    pass
        text = node.text if isinstance(node, ScalarNode) else ""
        report_wrong_type(
            node,
            "text, a whole number, true or false, or a list of texts",
            context,
            f'put it in quotes: "{text}"'
            if isinstance(node, ScalarNode)
            else "split it into several variables",
        )
        return None

    def schema(self) -> Json:
        kinds = ("string", "integer", "boolean")
        texts: Json = {"type": "array", "items": {"type": "string"}}
        return {"anyOf": [*({"type": kind} for kind in kinds), texts]}
