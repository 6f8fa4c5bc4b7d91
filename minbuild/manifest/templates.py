"""Templates: rendering, the variables they use, and a cache that spares loading jinja2.

A text whose only marks are `{{ name }}` is rendered here; `jinja_engine` renders all others.
"""

import contextlib
import hashlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.manifest.document.nodes import TEMPLATE_MARK
from minbuild.manifest.model import VariableValue
from minbuild.manifest.text_use import (
    QUOTED_MARK,
    TemplateProblem,
    TextUse,
    describe_unquoted,
    quote_shell_word,
)

if TYPE_CHECKING:
    from minbuild.manifest.jinja_engine import JinjaEngine


_WORD_PATTERN = re.compile(r"\w+")


class RenderCache:
    """Rendered templates in the store, keyed by template, used values and version of the code."""

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
        """Return the cached result for a template, or call `render`; errors are not cached.

        The key has the values of the variables whose names occur in the text.
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
    """Cache renderings in a store; `code` identifies the version of minbuild's code."""
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
    """Return the cached result for a template, or call `render_lines`."""
    render_cache = _current_cache.get()
    return (
        render_lines()
        if render_cache is None
        else render_cache.get_or_render(purpose, text, values, render_lines)
    )


@cache
def _identify_jinja2() -> str:
    """Identify the installed jinja2 without loading it."""
    spec = importlib.util.find_spec("jinja2")
    if spec is None or spec.origin is None:
        return ""
    stat = Path(spec.origin).stat()
    return f"{spec.origin} {stat.st_size} {stat.st_mtime_ns}"


RESERVED_WORDS = frozenset(
    {"true", "false", "none", "True", "False", "None", "and", "or", "not", "in", "is", "if", "else"}
    | {"for", "loop", "self", "caller", "super", "varargs", "kwargs"}
)
"""Reserved words of jinja2."""

_SIMPLE_OUTPUT = re.compile(r"\{\{ *([A-Za-z_][A-Za-z0-9_]*) *(\| *quote *)?\}\}")


def render_template(
    text: str,
    values: Mapping[str, VariableValue],
    use: TextUse = TextUse.TEXT,
    *,
    marked: bool = False,
) -> str:
    """Return the text with its variables filled in; a final newline is kept.

    `use` decides which values are allowed; `marked`: QUOTED_MARK replaces every quoted value.
    Raises: InvalidTemplate.
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
            lambda match: _format_value(values[match[1]], match[2], marked), text
        )
    purpose = f"text {use} {marked}"
    return render_once(
        purpose, text, values, lambda: [_load_engine().render(text, values, use, marked=marked)]
    )[0]


def _is_one_line(value: str) -> bool:
    return not any(mark in value for mark in "\n\r\0")


def _format_value(value: VariableValue, quoted: str | None, marked: bool) -> str:
    if quoted is None:
        return str(value)
    return QUOTED_MARK if marked else quote_shell_word(str(value))


def find_unquoted(text: str, values: Mapping[str, VariableValue]) -> tuple[TemplateProblem, ...]:
    """Find values in a template of a shell script that lack the filter `quote`.

    Raises: InvalidTemplate.
    """
    if not TEMPLATE_MARK.search(text):
        return ()
    simple_names = _match_simple(text)
    if simple_names is not None:
        rows = [
            (text.count("\n", 0, match.start()) + 1, match[1])
            for match in _SIMPLE_OUTPUT.finditer(text)
            if match[2] is None and not isinstance(values.get(match[1]), int)
        ]
    else:
        kinds = {name: value for name, value in values.items() if isinstance(value, int)}
        lines = render_once(
            "unquoted", text, kinds, lambda: _load_engine().find_unquoted(text, values)
        )
        rows = [(int(line), names) for line, _, names in (row.partition(" ") for row in lines)]
    return tuple(describe_unquoted(line, names) for line, names in dict.fromkeys(rows))


def find_variables(text: str) -> frozenset[str]:
    """Return the variables that a template uses.

    Raises: InvalidTemplate.
    """
    if not TEMPLATE_MARK.search(text):
        return frozenset()
    simple_names = _match_simple(text)
    if simple_names is not None:
        return frozenset(simple_names)
    return frozenset(
        render_once("names", text, {}, lambda: sorted(_load_engine().find_variables(text)))
    )


def _match_simple(text: str) -> list[str] | None:
    """Return the names in a text whose only marks are `{{ name }}`; None for another text."""
    outputs = list(_SIMPLE_OUTPUT.finditer(text))
    starts = [mark.start() for mark in TEMPLATE_MARK.finditer(text)]
    if "\r" in text or [output.start() for output in outputs] != starts:
        return None
    names = [output[1] for output in outputs]
    return None if RESERVED_WORDS.intersection(names) else names


@cache
def _load_engine() -> "JinjaEngine":
    from minbuild.manifest.jinja_engine import (
        JinjaEngine,  # 30 ms, and a cached rendering needs none
    )

    return JinjaEngine()
