"""Templates: the one door to jinja2.

Undefined variables are errors, nothing reaches outside the sandbox, and nothing in it depends on
chance or time. A text whose only marks are `{{ name }}` is rendered without importing jinja2.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minbuild.bounds import OutOfTime, bounded
from minbuild.manifest import kept
from minbuild.manifest.problems import suggestion
from minbuild.manifest.types import Value
from minbuild.manifest.uses import MARK, Use, shell_word

if TYPE_CHECKING:
    import jinja2

MARKS = re.compile(r"\{[{%#]")
"""What makes a text a template."""
RESERVED = frozenset(
    {"true", "false", "none", "True", "False", "None", "and", "or", "not", "in", "is", "if", "else"}
    | {"for", "loop", "self", "caller", "super", "varargs", "kwargs"}
)
"""Words of jinja2 that cannot name a variable."""

_REFERENCE = re.compile(r"\{\{ *([A-Za-z_][A-Za-z0-9_]*) *(\| *quote *)?\}\}")
_LARGEST = 1 << 24
"""Characters of the longest text that a template may make by repeating."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in a template, and where in its text."""

    what: str
    line: int
    column: int
    fix: str
    undefined: str = ""
    """The undefined variable, if that is the fault."""


class Faulty(Exception):
    """A template that cannot be rendered: its faults, in order."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*(fault.what for fault in faults))
        self.faults = faults


def render(
    text: str, values: Mapping[str, Value], use: Use = Use.TEXT, *, marked: bool = False
) -> str:
    """The text with its variables filled in; a last newline stays.

    `use` says what a value may hold; `marked`: MARK stands for every quoted value.
    Raises: Faulty.
    """
    if not MARKS.search(text):
        return text
    simple = _simple(text)
    if simple is not None and all(
        isinstance(value := values.get(name), int) or (isinstance(value, str) and _is_line(value))
        for name in simple
        if name not in RESERVED
    ):
        return _REFERENCE.sub(lambda found: _word(values[found[1]], found[2], marked), text)
    what = f"text {use} {marked}"
    return kept.once(what, text, values, lambda: [_render(text, values, use, marked)])[0]


def _is_line(value: str) -> bool:
    return not any(mark in value for mark in "\n\r\0")


def _word(value: Value, quoted: str | None, marked: bool) -> str:
    if quoted is None:
        return str(value)
    return MARK if marked else shell_word(str(value))


def unquoted(text: str, values: Mapping[str, Value]) -> tuple[Fault, ...]:
    """Every value that a template for a shell writes without the filter `quote`.

    Raises: Faulty.
    """
    if not MARKS.search(text):
        return ()
    simple = _simple(text)
    if simple is not None:
        rows = [
            (text.count("\n", 0, found.start()) + 1, found[1])
            for found in _REFERENCE.finditer(text)
            if found[2] is None and not isinstance(values.get(found[1]), int)
        ]
    else:
        kinds = {name: value for name, value in values.items() if isinstance(value, int)}
        lines = kept.once("unquoted", text, kinds, lambda: _unquoted(text, values))
        rows = [(int(line), names) for line, _, names in (each.partition(" ") for each in lines)]
    return tuple(_unquoted_fault(line, names) for line, names in dict.fromkeys(rows))


def _unquoted(text: str, values: Mapping[str, Value]) -> list[str]:
    from jinja2 import TemplateError

    from minbuild.manifest import quoting

    environment = _environment()
    try:
        with bounded():
            tree = environment.parse(text)
            return [f"{line} {names}" for line, names in quoting.unquoted(tree, values)]
    except (TemplateError, RecursionError, MemoryError, OutOfTime) as error:
        raise Faulty(_fault(error, text)) from error


def _unquoted_fault(line: int, names: str) -> Fault:
    first = names.partition(",")[0] or "…"
    return Fault(
        f"the value of {names or 'an expression'} goes into shell commands without the filter quote",
        line,
        1,
        f"write it as {{{{ {first} | quote }}}}, outside of the script's own quotes; within them, "
        "name a variable of the script that was set so before",
    )


def names(text: str) -> frozenset[str]:
    """The variables that a template uses.

    Raises: Faulty.
    """
    if not MARKS.search(text):
        return frozenset()
    simple = _simple(text)
    if simple is not None:
        return frozenset(simple)
    return frozenset(kept.once("names", text, {}, lambda: sorted(_names(text))))


def _names(text: str) -> frozenset[str]:
    from jinja2 import TemplateError, meta

    environment = _environment()
    try:
        with bounded():
            return frozenset(meta.find_undeclared_variables(environment.parse(text)))
    except (TemplateError, RecursionError, MemoryError, OutOfTime) as error:
        raise Faulty(_fault(error, text)) from error


def _simple(text: str) -> list[str] | None:
    """The names in a text whose only marks are `{{ name }}`; None for any other text."""
    found = list(_REFERENCE.finditer(text))
    starts = [mark.start() for mark in MARKS.finditer(text)]
    if "\r" in text or [one.start() for one in found] != starts:
        return None
    names = [one[1] for one in found]
    return None if RESERVED.intersection(names) else names


def _render(text: str, values: Mapping[str, Value], use: Use, marked: bool) -> str:
    from jinja2 import TemplateError

    from minbuild.manifest import quoting

    environment = _environment(marked)
    try:
        with bounded():
            tree = environment.parse(text)
            undefined = _undefined(tree, text, values)
            if undefined:
                raise Faulty(*undefined)
            if use is not Use.TEXT:
                tree = quoting.guard(tree, text, use, environment)
            return environment.from_string(tree).render(values)
    except (
        TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError,
        NameError, SyntaxError, RecursionError, MemoryError, OutOfTime,
    ) as error:  # fmt: skip
        raise Faulty(_fault(error, text)) from error


def _undefined(tree: Any, text: str, values: Mapping[str, Value]) -> list[Fault]:
    """Every variable that is used, not known, and not asked about with `is defined` or default."""
    from jinja2 import meta, nodes

    known = {*values, *_environment().globals}
    missing = meta.find_undeclared_variables(tree) - known
    for test in tree.find_all((nodes.Test, nodes.Filter)):
        if test.name in ("defined", "undefined", "default", "d") and test.node is not None:
            missing -= {name.name for name in test.node.find_all(nodes.Name)}
            missing -= {getattr(test.node, "name", "")}
    used = sorted({(name.lineno, name.name) for name in tree.find_all(nodes.Name)})
    return [
        Fault(
            f"the variable {name!r} is not defined",
            line,
            _column(text, line, name),
            suggestion(name, values, otherwise="define it under vars:"),
            undefined=name,
        )
        for line, name in used
        if name in missing
    ]


def _column(text: str, line: int, name: str) -> int:
    lines = text.split("\n")
    found = re.search(rf"\b{re.escape(name)}\b", lines[line - 1]) if line <= len(lines) else None
    return found.start() + 1 if found else 1


def _fault(error: BaseException, text: str) -> Fault:
    """What jinja2, or Python below it, says of a template."""
    from jinja2 import TemplateNotFound, TemplateSyntaxError, UndefinedError

    if isinstance(error, TemplateSyntaxError):
        fix = "correct it; for text with {{, {% or {# in it that is no template, use source:"
        return Fault(f"not a template: {error.message}", error.lineno, 1, fix)
    if isinstance(error, TemplateNotFound):
        return Fault("a template includes another", _line(error), 1, "write it out")
    if isinstance(error, UndefinedError):
        return Fault(f"{error}", _line(error), 1, "define it, or ask with `is defined`")
    about = str(error) or type(error).__name__
    return Fault(f"a template cannot be rendered: {about}", _line(error), 1, "correct the template")


def _line(error: BaseException) -> int:
    """The line of the template in an error's traceback."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in ("<template>", "<unknown>"):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


@functools.cache
def _environment(marked: bool = False) -> "jinja2.Environment":
    from jinja2 import DictLoader, StrictUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.runtime import Context
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from minbuild.manifest import quoting

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("*", "**"))

        def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
            """Multiply only what stays small: templates make configuration, not data."""
            sizes = [len(one) if hasattr(one, "__len__") else abs(one) for one in (left, right)]
            if operator == "**" or sizes[0] * sizes[1] > _LARGEST:
                raise SecurityError(f"{operator} makes too much")
            return super().call_binop(context, operator, left, right)

    made = Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, loader=DictLoader({}), cache_size=0
    )
    del made.globals["lipsum"]
    del made.filters["random"]
    made.filters["quote"] = (
        (lambda value: quoting.quote(value) and MARK) if marked else quoting.quote
    )
    made.filters["one_line"] = quoting.one_line
    return made
