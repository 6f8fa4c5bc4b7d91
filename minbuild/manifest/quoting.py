"""Values in files of commands and lines: what must be quoted, and what may not hold a line break.

A value in a shell script goes through the filter `quote`, which makes one shell word of any text
(POSIX.1-2024, 2.2.2); numbers and constants need none. In every file a value that shares its line
with other text must be one line: a line break in it would begin a line that nobody wrote.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from jinja2 import Environment, nodes
from jinja2.exceptions import FilterArgumentError

from minbuild.manifest.types import Value
from minbuild.manifest.uses import Use, shell_word

NUMBERS = frozenset({"abs", "count", "float", "int", "length", "round", "wordcount"})
"""Filters that give a number."""
LOOP = frozenset({"index", "index0", "revindex", "revindex0", "first", "last", "length", "depth"})
_OPEN = re.compile(r"\{%.*?%\}|\{#.*?#\}")
_OUTPUT = re.compile(r"\{\{.*?(\}\}|$)")


def quote(value: object) -> str:
    """Make one shell word of a text or number.

    Raises: FilterArgumentError for a list.
    """
    if not isinstance(value, str | int | float):
        raise FilterArgumentError(
            "quote makes one word of one text; of a list write join(' ') | quote for one word, "
            "map('quote') | join(' ') for several"
        )
    return shell_word(str(value))


def one_line(value: object) -> object:
    """Give back a value that is one line.

    Raises: FilterArgumentError.
    """
    if any(mark in str(value) for mark in "\n\r\0"):
        raise FilterArgumentError(
            "a value with a line break stands within a line: write it on one line, or give it a "
            "line of its own in the template"
        )
    return value


def guard(tree: nodes.Template, text: str, use: Use, environment: Environment) -> nodes.Template:
    """A template whose values must be one line where they share a line with other text."""
    lines = text.split("\n")
    for output in tree.find_all(nodes.Output):
        output.nodes = [
            each if _may_have_lines(each, lines, use)
            else nodes.Filter(each, "one_line", [], [], None, None, lineno=each.lineno,
                              environment=environment)
            for each in output.nodes
        ]  # fmt: skip
    return tree


def _may_have_lines(node: nodes.Expr, lines: list[str], use: Use) -> bool:
    if isinstance(node, nodes.TemplateData | nodes.Const):
        return True
    if use is Use.SHELL and _is_filter(node, "quote"):
        return True
    line = _OPEN.sub("", lines[node.lineno - 1]) if node.lineno <= len(lines) else ""
    return not _OUTPUT.sub("", line, count=1).strip()


def unquoted(tree: nodes.Template, values: Mapping[str, Value]) -> Iterator[tuple[int, str]]:
    """Line and variables of each output that is neither quoted nor a number or constant."""
    safe = _Safe(tree, values)
    for output in tree.find_all(nodes.Output):
        for node in output.nodes:
            if not safe.holds(node):
                names = sorted({name.name for name in _with(node).find_all(nodes.Name)})
                yield node.lineno, ", ".join(names)


def _with(node: nodes.Node) -> nodes.Output:
    return nodes.Output([node], lineno=node.lineno)


class _Safe:
    """Which expressions of a template give no text from outside of it without quotes."""

    def __init__(self, tree: nodes.Template, values: Mapping[str, Value]) -> None:
        self._macros = {macro.name for macro in tree.find_all(nodes.Macro)} | {"caller", "range"}
        bound: dict[str, list[nodes.Node]] = {}
        pairs = [(loop.target, loop.iter) for loop in tree.find_all(nodes.For)]
        pairs += [(each.target, each.node) for each in tree.find_all(nodes.Assign)]
        for target, given in pairs:
            for name in _with(target).find_all(nodes.Name):
                bound.setdefault(name.name, []).append(given)
        own = {name.name for macro in tree.find_all(nodes.Macro) for name in macro.args}
        own |= {
            name.name
            for block in tree.find_all(nodes.AssignBlock)
            for name in _with(block.target).find_all(nodes.Name)
        }
        numbers = {name for name, value in values.items() if isinstance(value, int)}
        self._names = (numbers - own) | {"loop"} - own
        self._names -= bound.keys()
        for _ in bound:  # a name may be bound to another one
            self._names |= {
                name
                for name, each in bound.items()
                if name not in own and all(map(self.holds, each))
            }

    def holds(self, node: nodes.Node) -> bool:
        """Whether an expression needs no quotes, or has them."""
        match node:
            case (
                nodes.TemplateData() | nodes.Const() | nodes.Compare() | nodes.Not() | nodes.Test()
            ):
                return True
            case nodes.Name():
                return node.name in self._names
            case nodes.Filter():
                return self._filter(node)
            case nodes.Getattr():
                loop = isinstance(node.node, nodes.Name) and node.node.name == "loop"
                return node.attr in LOOP if loop else self.holds(node.node)
            case nodes.Call():
                macro = isinstance(node.node, nodes.Name) and node.node.name in self._macros
                return macro or self._all(node.iter_child_nodes())
            case nodes.CondExpr():
                return self._all(filter(None, (node.expr1, node.expr2)))
            case (
                nodes.BinExpr() | nodes.UnaryExpr() | nodes.Concat()
                | nodes.List() | nodes.Tuple() | nodes.Dict() | nodes.Pair() | nodes.Getitem()
            ):  # fmt: skip
                return self._all(node.iter_child_nodes())
            case _:
                return False

    def _all(self, found: Iterable[nodes.Node]) -> bool:
        return all(self.holds(node) for node in found)

    def _filter(self, node: nodes.Filter) -> bool:
        if node.name == "quote" or node.name in NUMBERS:
            return True
        if node.node is None:
            return False
        parts = [*node.args, *(pair.value for pair in node.kwargs)]
        if isinstance(node.node, nodes.Filter) and node.node.name == "map":
            inner = node.node.args
            quoted = (
                len(inner) == 1 and isinstance(inner[0], nodes.Const) and inner[0].value == "quote"
            )
            return node.name == "join" and quoted and self._all(parts)
        # another filter may take the quotes apart
        quoted = _is_filter(node.node, "quote")
        return not quoted and self._all((node.node, *parts))


def _is_filter(node: nodes.Node | None, name: str) -> bool:
    return isinstance(node, nodes.Filter) and node.name == name
