"""Templates: the one door to jinja2.

Undefined variables are errors, nothing reaches outside the sandbox, and nothing in it depends on
chance or time. A text whose only marks are `{{ name }}` is rendered without importing jinja2.
"""

import contextlib
import functools
import hashlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minbuild.bounds import TimeExceeded, limit_resources
from minbuild.cache.kinds import RecordKind
from minbuild.cache.store import Store
from minbuild.manifest.document.nodes import TEMPLATE_MARK
from minbuild.manifest.document.problems import suggest
from minbuild.manifest.model import VariableValue
from minbuild.manifest.text_use import QUOTED_MARK, TextUse, quote_shell_word

if TYPE_CHECKING:
    import jinja2


_WORD_PATTERN = re.compile(r"\w+")


class RenderCache:
    """Renderings of one store, by one state of our code."""

    def __init__(self, store: Store, code: str) -> None:
        self._store = store
        self._code = f"{code} {_identify_jinja2()}"
        self.new_entries: dict[str, bytes] = {}

    def get_or_render(
        self,
        purpose: str,
        text: str,
        values: Mapping[str, VariableValue],
        render: Callable[[], list[str]],
    ) -> list[str]:
        """What `make` gives for a template, made when it is not kept; its errors are not

        A variable that a template uses stands in its text: no other's value counts.
        """
        names = set(_WORD_PATTERN.findall(text))
        used = sorted((name, value) for name, value in values.items() if name in names)
        parts = repr((purpose, self._code, text, sorted(names & values.keys()), used))
        key = hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()
        cached = self.new_entries.get(key) or self._store.get(RecordKind.RENDERING, key)
        if cached is None:
            self.new_entries[key] = cached = json.dumps(render()).encode()
        lines: list[str] = json.loads(cached)
        return lines


_current_cache: ContextVar[RenderCache | None] = ContextVar("_memory", default=None)


@contextlib.contextmanager
def use_render_cache(store: Store, code: str) -> Iterator[None]:
    """Keep renderings in a store; `code` names the state of our own code."""
    render_cache = RenderCache(store, code)
    token = _current_cache.set(render_cache)
    try:
        yield
    finally:
        _current_cache.reset(token)
        if render_cache.new_entries:
            store.put(RecordKind.RENDERING, render_cache.new_entries)


def render_once(
    purpose: str,
    text: str,
    values: Mapping[str, VariableValue],
    render_lines: Callable[[], list[str]],
) -> list[str]:
    """What `make` gives for a template, kept where renderings are."""
    render_cache = _current_cache.get()
    return (
        render_lines()
        if render_cache is None
        else render_cache.get_or_render(purpose, text, values, render_lines)
    )


@cache
def _identify_jinja2() -> str:
    """Names the jinja2 that is installed, without loading it."""
    spec = importlib.util.find_spec("jinja2")
    if spec is None or spec.origin is None:
        return ""
    stat = Path(spec.origin).stat()
    return f"{spec.origin} {stat.st_size} {stat.st_mtime_ns}"


RESERVED_WORDS = frozenset(
    {"true", "false", "none", "True", "False", "None", "and", "or", "not", "in", "is", "if", "else"}
    | {"for", "loop", "self", "caller", "super", "varargs", "kwargs"}
)
"""Words of jinja2 that cannot name a variable."""

_SIMPLE_OUTPUT = re.compile(r"\{\{ *([A-Za-z_][A-Za-z0-9_]*) *(\| *quote *)?\}\}")
_MAX_PRODUCT = 1 << 24
"""Characters of the longest text that a template may make by repeating."""


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """What is wrong in a template, and where in its text."""

    message: str
    line: int
    column: int
    fix: str
    undefined_name: str = ""
    """The undefined variable, if that is the fault."""


class InvalidTemplate(Exception):
    """A template that cannot be rendered: its faults, in order."""

    def __init__(self, *problems: TemplateProblem) -> None:
        super().__init__(*(fault.message for fault in problems))
        self.problems = problems


def render_template(
    text: str,
    values: Mapping[str, VariableValue],
    use: TextUse = TextUse.TEXT,
    *,
    marked: bool = False,
) -> str:
    """The text with its variables filled in; a last newline stays.

    `use` says what a value may hold; `marked`: MARK stands for every quoted value.
    Raises: Faulty.
    """
    if not TEMPLATE_MARK.search(text):
        return text
    simple_names = _match_simple(text)
    if simple_names is not None and all(
        isinstance(value := values.get(name), int)
        or (isinstance(value, str) and _is_one_line(value))
        for name in simple_names
        if name not in RESERVED_WORDS
    ):
        return _SIMPLE_OUTPUT.sub(
            lambda found: _format_value(values[found[1]], found[2], marked), text
        )
    purpose = f"text {use} {marked}"
    return render_once(
        purpose, text, values, lambda: [_render_with_jinja2(text, values, use, marked)]
    )[0]


def _is_one_line(value: str) -> bool:
    return not any(mark in value for mark in "\n\r\0")


def _format_value(value: VariableValue, quoted: str | None, marked: bool) -> str:
    if quoted is None:
        return str(value)
    return QUOTED_MARK if marked else quote_shell_word(str(value))


def find_unquoted(text: str, values: Mapping[str, VariableValue]) -> tuple[TemplateProblem, ...]:
    """Every value that a template for a shell writes without the filter `quote`.

    Raises: Faulty.
    """
    if not TEMPLATE_MARK.search(text):
        return ()
    simple_names = _match_simple(text)
    if simple_names is not None:
        rows = [
            (text.count("\n", 0, found.start()) + 1, found[1])
            for found in _SIMPLE_OUTPUT.finditer(text)
            if found[2] is None and not isinstance(values.get(found[1]), int)
        ]
    else:
        kinds = {name: value for name, value in values.items() if isinstance(value, int)}
        lines = render_once("unquoted", text, kinds, lambda: _parse_unquoted(text, values))
        rows = [(int(line), names) for line, _, names in (each.partition(" ") for each in lines)]
    return tuple(_describe_unquoted(line, names) for line, names in dict.fromkeys(rows))


def _parse_unquoted(text: str, values: Mapping[str, VariableValue]) -> list[str]:
    from jinja2 import TemplateError

    from minbuild.manifest import quoting

    environment = _create_environment()
    try:
        with limit_resources():
            tree = environment.parse(text)
            return [
                f"{line} {names}" for line, names in quoting.find_unquoted_outputs(tree, values)
            ]
    except (TemplateError, RecursionError, MemoryError, TimeExceeded) as error:
        raise InvalidTemplate(_describe_error(error, text)) from error


def _describe_unquoted(line: int, names: str) -> TemplateProblem:
    first = names.partition(",")[0] or "…"
    return TemplateProblem(
        f"the value of {names or 'an expression'} goes into shell commands without the filter quote",
        line,
        1,
        f"write it as {{{{ {first} | quote }}}}, outside of the script's own quotes; within them, "
        "name a variable of the script that was set so before",
    )


def find_variables(text: str) -> frozenset[str]:
    """The variables that a template uses.

    Raises: Faulty.
    """
    if not TEMPLATE_MARK.search(text):
        return frozenset()
    simple_names = _match_simple(text)
    if simple_names is not None:
        return frozenset(simple_names)
    return frozenset(render_once("names", text, {}, lambda: sorted(_parse_variables(text))))


def _parse_variables(text: str) -> frozenset[str]:
    from jinja2 import TemplateError, meta

    environment = _create_environment()
    try:
        with limit_resources():
            return frozenset(meta.find_undeclared_variables(environment.parse(text)))
    except (TemplateError, RecursionError, MemoryError, TimeExceeded) as error:
        raise InvalidTemplate(_describe_error(error, text)) from error


def _match_simple(text: str) -> list[str] | None:
    """The names in a text whose only marks are `{{ name }}`; None for any other text."""
    outputs = list(_SIMPLE_OUTPUT.finditer(text))
    starts = [mark.start() for mark in TEMPLATE_MARK.finditer(text)]
    if "\r" in text or [one.start() for one in outputs] != starts:
        return None
    names = [one[1] for one in outputs]
    return None if RESERVED_WORDS.intersection(names) else names


def _render_with_jinja2(
    text: str, values: Mapping[str, VariableValue], use: TextUse, marked: bool
) -> str:
    from jinja2 import TemplateError

    from minbuild.manifest import quoting

    environment = _create_environment(marked)
    try:
        with limit_resources():
            tree = environment.parse(text)
            undefined = _find_undefined(tree, text, values)
            if undefined:
                raise InvalidTemplate(*undefined)
            if use is not TextUse.TEXT:
                tree = quoting.guard_line_breaks(tree, text, use, environment)
            return environment.from_string(tree).render(values)
    except (
        TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError,
        NameError, SyntaxError, RecursionError, MemoryError, TimeExceeded,
    ) as error:  # fmt: skip
        raise InvalidTemplate(_describe_error(error, text)) from error


def _find_undefined(
    tree: Any, text: str, values: Mapping[str, VariableValue]
) -> list[TemplateProblem]:
    """Every variable that is used, not known, and not asked about with `is defined` or default."""
    from jinja2 import meta, nodes

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
    """What jinja2, or Python below it, says of a template."""
    from jinja2 import TemplateNotFound, TemplateSyntaxError, UndefinedError

    if isinstance(error, TemplateSyntaxError):
        fix = "correct it; for text with {{, {% or {# in it that is no template, use source:"
        return TemplateProblem(f"not a template: {error.message}", error.lineno, 1, fix)
    if isinstance(error, TemplateNotFound):
        return TemplateProblem("a template includes another", _find_line(error), 1, "write it out")
    if isinstance(error, UndefinedError):
        return TemplateProblem(
            f"{error}", _find_line(error), 1, "define it, or ask with `is defined`"
        )
    message = str(error) or type(error).__name__
    return TemplateProblem(
        f"a template cannot be rendered: {message}", _find_line(error), 1, "correct the template"
    )


def _find_line(error: BaseException) -> int:
    """The line of the template in an error's traceback."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in ("<template>", "<unknown>"):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


@functools.cache
def _create_environment(marked: bool = False) -> "jinja2.Environment":
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
            if operator == "**" or sizes[0] * sizes[1] > _MAX_PRODUCT:
                raise SecurityError(f"{operator} makes too much")
            return super().call_binop(context, operator, left, right)

    environment = Environment(
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
