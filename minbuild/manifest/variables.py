"""Variables: whose value wins, and how those that use others are filled in."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from minbuild.manifest import document, template
from minbuild.manifest.nodes import Scalar
from minbuild.manifest.problems import Problems, suggestion
from minbuild.manifest.scalars import Variable as VariableShape
from minbuild.manifest.shape import Reading
from minbuild.manifest.types import Value, Where
from minbuild.manifest.written import Variable


@dataclass(frozen=True, slots=True)
class _Known:
    value: Value
    where: Where | str


def table(
    builtin: Mapping[str, str],
    defaults: Sequence[Variable],
    given: Sequence[Variable],
    settings: Mapping[str, str],
    problems: Problems,
) -> dict[str, Value]:
    """Every variable's value, sorted by name: settings over the manifest's over the defaults."""
    known: dict[str, _Known] = {}
    overridden = {variable.name for variable in given}
    for variable in defaults:
        _check_name(variable, builtin, problems)
        first = known.setdefault(variable.name, _Known(variable.value, variable.where))
        if not _same(first.value, variable.value) and variable.name not in overridden:
            problems.add(
                f"the variable {variable.name!r} has another default at {first.where}",
                variable.where,
                f"rename it, or set {variable.name} under the manifest's vars:",
            )
    for variable in given:
        _check_name(variable, builtin, problems)
        default = known.get(variable.name)
        if default is not None and _kind(default.value) != _kind(variable.value):
            problems.add(
                f"{variable.name} is {_kind(variable.value)}, its default {_kind(default.value)}",
                variable.where,
                f"write {_kind(default.value)}, as at {default.where}",
            )
        known[variable.name] = _Known(variable.value, variable.where)
    for name, text in sorted(settings.items()):
        _set(name, text, known, builtin, problems)
    for name in builtin:
        known[name] = _Known(builtin[name], "")
    return _Filling(known, problems).all()


def unused(
    given: Sequence[Variable],
    defaults: Sequence[Variable],
    words: Collection[str],
    problems: Problems,
) -> None:
    """Say of each variable of the manifest that no component knows and no template uses."""
    known = {variable.name for variable in defaults}
    texts = [str(variable.value) for variable in (*given, *defaults)]
    inside = " ".join(text for text in texts if template.MARKS.search(text))
    used = {*known, *words, *re.findall("[A-Za-z_][A-Za-z0-9_]*", inside)}
    for variable in given:
        if variable.name not in used:
            fix = suggestion(variable.name, known, otherwise="remove it, or use it")
            problems.add(f"nothing uses the variable {variable.name!r}", variable.where, fix)


def _check_name(variable: Variable, builtin: Mapping[str, str], problems: Problems) -> None:
    if variable.name in builtin:
        fix = f"the manifest's own {variable.name}: is that variable; use another name"
        problems.add(f"{variable.name!r} is always defined", variable.where, fix)
    elif variable.name in template.RESERVED:
        fix = "use another name"
        problems.add(f"{variable.name!r} is a word of the templates", variable.where, fix)


def _set(
    name: str,
    text: str,
    known: dict[str, _Known],
    builtin: Mapping[str, str],
    problems: Problems,
) -> None:
    """Take one --set."""
    place = f"--set {name}={text}"
    if name in builtin:
        problems.add(f"{name!r} cannot be set", place, f"write {name}: in the manifest")
        return
    if name not in known:
        fix = suggestion(name, known, otherwise="declare it under the manifest's vars:")
        problems.add(f"no variable is named {name!r}", place, fix)
        return
    declared = known[name].value
    value = _setting(text, declared)
    if value is None or _kind(value) != _kind(declared):
        example = {bool: "true", int: "5", tuple: "[a, b]"}.get(type(declared), f'"{text}"')
        problems.add(
            f"{name} is {_kind(declared)}, and {text!r} is not",
            place,
            f"write it like --set '{name}={example}'",
        )
        return
    known[name] = _Known(value, place)


def _setting(text: str, declared: Value) -> Value | None:
    """The value that a --set gives, as YAML; None when it is not one."""
    if not text.strip() or template.MARKS.match(text):
        return text
    scratch = Problems()
    node = document.parse(text.encode(errors="surrogateescape"), "--set", scratch)
    if node is None or len(scratch):
        return None
    if isinstance(declared, str) and isinstance(node, Scalar):
        return node.text
    return VariableShape().read(node, Reading(scratch))


def _kind(value: Value) -> str:
    match value:
        case bool():
            return "true or false"
        case int():
            return "a whole number"
        case str():
            return "text"
        case tuple():
            return "a list of texts"


def _same(one: Value, other: Value) -> bool:
    return one == other and _kind(one) == _kind(other)


class _Filling:
    """Renders variables that use others, each after those it uses."""

    def __init__(self, known: Mapping[str, _Known], problems: Problems) -> None:
        self._known = known
        self._problems = problems
        self._done: dict[str, Value] = {}
        self._chain: list[str] = []

    def all(self) -> dict[str, Value]:
        """All values, sorted by name."""
        for name in self._known:
            self._fill(name)
        return dict(sorted(self._done.items()))

    def _fill(self, name: str) -> None:
        if name in self._done:
            return
        if name in self._chain:
            circle = [*self._chain[self._chain.index(name) :], name]
            self._problems.add(
                f"variables use each other in a circle: {' → '.join(circle)}",
                self._known[name].where,
                "give one of them a value of its own",
            )
            self._done.update(dict.fromkeys(circle, ""))
            return
        self._chain.append(name)
        value = self._value(self._known[name])
        self._done.setdefault(name, value)
        self._chain.pop()

    def _value(self, known: _Known) -> Value:
        match known.value:
            case str():
                return self._text(known.value, known.where)
            case tuple():
                return tuple(self._text(text, known.where) for text in known.value)
            case _:
                return known.value

    def _text(self, text: str, where: Where | str) -> str:
        try:
            for name in sorted(template.names(text) & self._known.keys()):
                self._fill(name)
            visible = {**dict.fromkeys(self._known, ""), **self._done}
            return template.render(text, visible)
        except template.Faulty as error:
            for fault in error.faults:
                self._problems.add(fault.what, where, fault.fix)
            return ""
