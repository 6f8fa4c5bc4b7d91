"""Rendering by jinja2, within bounds of time and memory: the only door to it; values are quoted for
the text that they stand in.

A value in a shell script goes through the filter `quote`, which makes one shell word of any text
(POSIX.1-2024, 2.2.2); numbers and constants need none. In every file, a value that shares its line
with other text must be one line: a line break would inject another line.

Undefined variables are errors, a template reaches nothing outside of the sandbox, and its result
depends on neither chance nor time.
"""

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jinja2 import (
    DictLoader,
    Environment,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
    meta,
    nodes,
)
from jinja2.exceptions import FilterArgumentError, SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from minbuild.bounds import TimeExceeded, limit_resources
from minbuild.manifest.document.nodes import suggest
from minbuild.manifest.model import VariableValue
from minbuild.manifest.text_use import (
    QUOTED_MARK,
    InvalidTemplate,
    TemplateProblem,
    TextUse,
    quote_shell_word,
)

NUMERIC_FILTERS = frozenset({"abs", "count", "float", "int", "length", "round", "wordcount"})
"""Filters that give a number."""
NUMERIC_LOOP_ATTRIBUTES = frozenset(
    {"index", "index0", "revindex", "revindex0", "first", "last", "length", "depth"}
)
_STATEMENT = re.compile(r"\{%.*?%\}|\{#.*?#\}")
_OUTPUT = re.compile(r"\{\{.*?(\}\}|$)")


def quote_value(value: object) -> str:
    """Quote a text or number as one shell word.

    Raises: FilterArgumentError for a list.
    """
    if not isinstance(value, str | int | float):
        raise FilterArgumentError(
            "quote takes one text; for a list write join(' ') | quote (one word) or "
            "map('quote') | join(' ') (several words)"
        )
    return quote_shell_word(str(value))


def require_one_line(value: object) -> object:
    """Return a value that is one line.

    Raises: FilterArgumentError.
    """
    if any(mark in str(value) for mark in "\n\r\0"):
        raise FilterArgumentError(
            "a value with a line break shares its line with other text: write it on one line, or "
            "on a line of its own in the template"
        )
    return value


def guard_line_breaks(
    tree: nodes.Template, text: str, use: TextUse, environment: Environment
) -> nodes.Template:
    """Require one line of the values that share a line with other text."""
    lines = text.split("\n")
    for output in tree.find_all(nodes.Output):
        output.nodes = [
            node if _can_have_lines(node, lines, use)
            else nodes.Filter(node, "one_line", [], [], None, None, lineno=node.lineno,
                              environment=environment)
            for node in output.nodes
        ]  # fmt: skip
    return tree


def _can_have_lines(node: nodes.Expr, lines: list[str], use: TextUse) -> bool:
    if isinstance(node, nodes.TemplateData | nodes.Const):
        return True
    if use is TextUse.SHELL and _is_filter(node, "quote"):
        return True
    line = _STATEMENT.sub("", lines[node.lineno - 1]) if node.lineno <= len(lines) else ""
    return not _OUTPUT.sub("", line, count=1).strip()


def find_unquoted_outputs(
    tree: nodes.Template, values: Mapping[str, VariableValue]
) -> Iterator[tuple[int, str]]:
    """Yield line and variables of each output that is neither quoted nor a number or constant."""
    safe = _SafeExpressions(tree, values)
    for output in tree.find_all(nodes.Output):
        for node in output.nodes:
            if not safe.is_safe(node):
                names = sorted({name.name for name in _wrap_output(node).find_all(nodes.Name)})
                yield node.lineno, ", ".join(names)


def _wrap_output(node: nodes.Node) -> nodes.Output:
    return nodes.Output([node], lineno=node.lineno)


class _SafeExpressions:
    """Expressions of a template that need no quotes: constants, numbers, and quoted values."""

    def __init__(self, tree: nodes.Template, values: Mapping[str, VariableValue]) -> None:
        self._macros = {macro.name for macro in tree.find_all(nodes.Macro)} | {"caller", "range"}
        bound: dict[str, list[nodes.Node]] = {}
        pairs = [(loop.target, loop.iter) for loop in tree.find_all(nodes.For)]
        pairs += [
            (expressions.target, expressions.node) for expressions in tree.find_all(nodes.Assign)
        ]
        for target, bound_to in pairs:
            for name in _wrap_output(target).find_all(nodes.Name):
                bound.setdefault(name.name, []).append(bound_to)
        unsafe = {name.name for macro in tree.find_all(nodes.Macro) for name in macro.args}
        unsafe |= {
            name.name
            for block in tree.find_all(nodes.AssignBlock)
            for name in _wrap_output(block.target).find_all(nodes.Name)
        }
        numbers = {name for name, value in values.items() if isinstance(value, int)}
        self._names = (numbers - unsafe) | {"loop"} - unsafe
        self._names -= bound.keys()
        for _ in bound:  # a name can be bound to another one
            self._names |= {
                name
                for name, expressions in bound.items()
                if name not in unsafe and all(map(self.is_safe, expressions))
            }

    def is_safe(self, node: nodes.Node) -> bool:
        """Whether an expression needs no quotes or has them."""
        match node:
            case (
                nodes.TemplateData() | nodes.Const() | nodes.Compare() | nodes.Not() | nodes.Test()
            ):
                return True
            case nodes.Name():
                return node.name in self._names
            case nodes.Filter():
                return self._is_safe_filter(node)
            case nodes.Getattr():
                loop = isinstance(node.node, nodes.Name) and node.node.name == "loop"
                return node.attr in NUMERIC_LOOP_ATTRIBUTES if loop else self.is_safe(node.node)
            case nodes.Call():
                macro = isinstance(node.node, nodes.Name) and node.node.name in self._macros
                return macro or self._are_safe(node.iter_child_nodes())
            case nodes.CondExpr():
                return self._are_safe(filter(None, (node.expr1, node.expr2)))
            case (
                nodes.BinExpr() | nodes.UnaryExpr() | nodes.Concat()
                | nodes.List() | nodes.Tuple() | nodes.Dict() | nodes.Pair() | nodes.Getitem()
            ):  # fmt: skip
                return self._are_safe(node.iter_child_nodes())
            case _:
                return False

    def _are_safe(self, expressions: Iterable[nodes.Node]) -> bool:
        return all(self.is_safe(node) for node in expressions)

    def _is_safe_filter(self, node: nodes.Filter) -> bool:
        if node.name == "quote" or node.name in NUMERIC_FILTERS:
            return True
        if node.node is None:
            return False
        parts = [*node.args, *(pair.value for pair in node.kwargs)]
        if isinstance(node.node, nodes.Filter) and node.node.name == "map":
            arguments = node.node.args
            quoted = (
                len(arguments) == 1
                and isinstance(arguments[0], nodes.Const)
                and arguments[0].value == "quote"
            )
            return node.name == "join" and quoted and self._are_safe(parts)
        # another filter can break the quotes
        quoted = _is_filter(node.node, "quote")
        return not quoted and self._are_safe((node.node, *parts))


def _is_filter(node: nodes.Node | None, name: str) -> bool:
    return isinstance(node, nodes.Filter) and node.name == name


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
        with _translate_errors(text, *_RENDER_ERRORS):
            return _compile(text, tuple(values), use, marked).render(values)

    def find_unquoted(self, text: str, values: Mapping[str, VariableValue]) -> list[str]:
        """Return `LINE NAMES` for each value that the filter `quote` is missing from."""
        with _translate_errors(text, *_PARSE_ERRORS):
            tree = _create_environment().parse(text)
            return [f"{line} {names}" for line, names in find_unquoted_outputs(tree, values)]

    def find_variables(self, text: str) -> frozenset[str]:
        """Return the variables that a template uses."""
        with _translate_errors(text, *_PARSE_ERRORS):
            tree = _create_environment().parse(text)
            return frozenset(meta.find_undeclared_variables(tree))


@functools.lru_cache(maxsize=512)
def _compile(text: str, names: tuple[str, ...], use: TextUse, marked: bool) -> Template:
    """A template that is ready for variables with these names: many hosts fill in the same ones."""
    environment = _create_environment(marked)
    tree = environment.parse(text)
    undefined = _find_undefined(tree, text, names)
    if undefined:
        raise InvalidTemplate(*undefined)
    if use is not TextUse.TEXT:
        tree = guard_line_breaks(tree, text, use, environment)
    return environment.from_string(tree)


@contextmanager
def _translate_errors(text: str, *errors: type[BaseException]) -> Iterator[None]:
    """Bound the work on a template, and raise `errors` of it as InvalidTemplate."""
    try:
        with limit_resources():
            yield
    except errors as error:
        raise InvalidTemplate(_describe_error(error, text)) from error


def _find_undefined(
    tree: nodes.Template, text: str, names: Collection[str]
) -> list[TemplateProblem]:
    """Find variables that are used, undefined, and not tested with `is defined` or default."""
    defined = {*names, *_create_environment().globals}
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
            suggest(name, names, otherwise="define it under vars:"),
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
        (lambda value: quote_value(value) and QUOTED_MARK) if marked else quote_value
    )
    environment.filters["one_line"] = require_one_line
    return environment
