"""Templates: the one door to jinja2.

Undefined variables are errors, nothing reaches outside the sandbox, and nothing in it depends on
chance or time. A text whose only marks are `{{ name }}` is rendered without importing jinja2.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minbuild.manifest import kept
from minbuild.manifest.problems import suggestion
from minbuild.manifest.types import Value

if TYPE_CHECKING:
    import jinja2

MARKS = re.compile(r"\{[{%#]")
"""What makes a text a template."""
RESERVED = frozenset(
    {"true", "false", "none", "True", "False", "None", "and", "or", "not", "in", "is", "if", "else"}
    | {"for", "loop", "self", "caller", "super", "varargs", "kwargs"}
)
"""Words of jinja2 that cannot name a variable."""

_REFERENCE = re.compile(r"\{\{ *([A-Za-z_][A-Za-z0-9_]*) *\}\}")
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


def render(text: str, values: Mapping[str, Value]) -> str:
    """The text with its variables filled in; a last newline stays.

    Raises: Faulty.
    """
    if not MARKS.search(text):
        return text
    simple = _simple(text)
    if simple is not None and all(
        isinstance(values.get(name), str | int) for name in simple if name not in RESERVED
    ):
        return _REFERENCE.sub(lambda found: str(values[found[1]]), text)
    return kept.once("text", text, values, lambda: [_render(text, values)])[0]


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

    try:
        return frozenset(meta.find_undeclared_variables(_environment().parse(text)))
    except (TemplateError, RecursionError) as error:
        raise Faulty(_fault(error, text)) from error


def _simple(text: str) -> list[str] | None:
    """The names in a text whose only marks are `{{ name }}`; None for any other text."""
    found = list(_REFERENCE.finditer(text))
    starts = [mark.start() for mark in MARKS.finditer(text)]
    if "\r" in text or [one.start() for one in found] != starts:
        return None
    names = [one[1] for one in found]
    return None if RESERVED.intersection(names) else names


def _render(text: str, values: Mapping[str, Value]) -> str:
    from jinja2 import TemplateError

    environment = _environment()
    try:
        tree = environment.parse(text)
        undefined = _undefined(tree, text, values)
        if undefined:
            raise Faulty(*undefined)
        return environment.from_string(tree).render(values)
    except (
        TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError,
        NameError, SyntaxError, RecursionError, MemoryError,
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
def _environment() -> "jinja2.Environment":
    from jinja2 import DictLoader, StrictUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.runtime import Context
    from jinja2.sandbox import ImmutableSandboxedEnvironment

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
    return made
