"""Rendering by jinja2, within bounds of time and memory: the only door to it.

Undefined variables are errors, a template reaches nothing outside of the sandbox, and its result
depends on neither chance nor time.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jinja2 import (
    DictLoader,
    Environment,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
    meta,
    nodes,
)
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from minbuild.bounds import TimeExceeded, limit_resources
from minbuild.manifest import quoting
from minbuild.manifest.document.problems import suggest
from minbuild.manifest.model import VariableValue
from minbuild.manifest.template_problems import InvalidTemplate, TemplateProblem
from minbuild.manifest.text_use import QUOTED_MARK, TextUse

_MAX_PRODUCT = 1 << 24
"""Longest result of a multiplication in a template, in characters."""

_PARSE_ERRORS = (TemplateError, RecursionError, MemoryError, TimeExceeded)
_RENDER_ERRORS = (
    *_PARSE_ERRORS, ArithmeticError, TypeError, ValueError, LookupError, AttributeError, NameError,
    SyntaxError,
)  # fmt: skip
"""Errors of Python that an expression of a template can cause, too."""


class JinjaEngine:
    """Renders and examines templates; each method raises InvalidTemplate for a faulty one."""

    def render(
        self, text: str, values: Mapping[str, VariableValue], use: TextUse, *, marked: bool
    ) -> str:
        """Return the text with its variables filled in; as `templates.render_template`."""
        environment = _create_environment(marked)
        with _translate_errors(text, *_RENDER_ERRORS):
            tree = environment.parse(text)
            undefined = _find_undefined(tree, text, values)
            if undefined:
                raise InvalidTemplate(*undefined)
            if use is not TextUse.TEXT:
                tree = quoting.guard_line_breaks(tree, text, use, environment)
            return environment.from_string(tree).render(values)

    def find_unquoted(self, text: str, values: Mapping[str, VariableValue]) -> list[str]:
        """Return `LINE NAMES` for each value that the filter `quote` is missing from."""
        with _translate_errors(text, *_PARSE_ERRORS):
            tree = _create_environment().parse(text)
            return [
                f"{line} {names}" for line, names in quoting.find_unquoted_outputs(tree, values)
            ]

    def find_variables(self, text: str) -> frozenset[str]:
        """Return the variables that a template uses."""
        with _translate_errors(text, *_PARSE_ERRORS):
            tree = _create_environment().parse(text)
            return frozenset(meta.find_undeclared_variables(tree))


@contextmanager
def _translate_errors(text: str, *errors: type[BaseException]) -> Iterator[None]:
    """Bound the work on a template, and raise `errors` of it as InvalidTemplate."""
    try:
        with limit_resources():
            yield
    except errors as error:
        raise InvalidTemplate(_describe_error(error, text)) from error


def _find_undefined(
    tree: nodes.Template, text: str, values: Mapping[str, VariableValue]
) -> list[TemplateProblem]:
    """Find variables that are used, undefined, and not tested with `is defined` or default."""
    defined = {*values, *_create_environment().globals}
    missing = meta.find_undeclared_variables(tree) - defined
    for test in tree.find_all((nodes.Test, nodes.Filter)):
        if test.name in ("defined", "undefined", "default", "d") and test.node is not None:
            missing -= {name.name for name in test.node.find_all(nodes.Name)}
            missing -= {getattr(test.node, "name", "")}
    used = sorted({(name.lineno, name.name) for name in tree.find_all(nodes.Name)})
    return [
        TemplateProblem(
            f"the variable {name!r} is not defined",
            line,
            _find_column(text, line, name),
            suggest(name, values, otherwise="define it under vars:"),
            undefined_name=name,
        )
        for line, name in used
        if name in missing
    ]


def _find_column(text: str, line: int, name: str) -> int:
    lines = text.split("\n")
    match = re.search(rf"\b{re.escape(name)}\b", lines[line - 1]) if line <= len(lines) else None
    return match.start() + 1 if match else 1


def _describe_error(error: BaseException, text: str) -> TemplateProblem:
    """Convert an error of jinja2 or Python to a fault of the template."""
    if isinstance(error, TemplateSyntaxError):
        fix = "correct it; for text with {{, {% or {# that is not a template, use source:"
        return TemplateProblem(f"not a template: {error.message}", error.lineno, 1, fix)
    if isinstance(error, TemplateNotFound):
        return TemplateProblem(
            "templates cannot include others", _find_line(error), 1, "write it out"
        )
    if isinstance(error, UndefinedError):
        return TemplateProblem(
            f"{error}", _find_line(error), 1, "define it, or test it with `is defined`"
        )
    message = str(error) or type(error).__name__
    return TemplateProblem(
        f"cannot render the template: {message}", _find_line(error), 1, "correct the template"
    )


def _find_line(error: BaseException) -> int:
    """Return the line of the template in the traceback of an error."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in ("<template>", "<unknown>"):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse large results of multiplication: templates render configuration, not data."""
        sizes = [len(value) if hasattr(value, "__len__") else abs(value) for value in (left, right)]
        if operator == "**" or sizes[0] * sizes[1] > _MAX_PRODUCT:
            raise SecurityError(f"the result of {operator} is too large")
        return super().call_binop(context, operator, left, right)


@functools.cache
def _create_environment(marked: bool = False) -> Environment:
    environment = _Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, loader=DictLoader({}), cache_size=0
    )
    del environment.globals["lipsum"]
    del environment.filters["random"]
    environment.filters["quote"] = (
        (lambda value: quoting.quote_value(value) and QUOTED_MARK)
        if marked
        else quoting.quote_value
    )
    environment.filters["one_line"] = quoting.require_one_line
    return environment
