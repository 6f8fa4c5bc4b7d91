"""Quoting of values in templates: shell words in scripts, single lines in other files.

A value in a shell script goes through the filter `quote`, which makes one shell word of any text
(POSIX.1-2024, 2.2.2); numbers and constants need none. In every file, a value that shares its line
with other text must be one line: a line break would inject another line.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from jinja2 import Environment, nodes
from jinja2.exceptions import FilterArgumentError

from minbuild.manifest.model import VariableValue
from minbuild.manifest.text_use import TextUse, quote_shell_word

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
