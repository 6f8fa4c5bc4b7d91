"""Renderings that are kept: jinja2 takes 60 ms to be loaded and to read a manifest's templates.

rendering-N   digest over code, template and the values it may use → what came of it
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

from minbuild.manifest.types import Value
from minbuild.store import Store

KIND = "rendering-1"
_WORD = re.compile(r"\w+")


class Memory:
    """Renderings of one store, by one state of our code."""

    def __init__(self, store: Store, code: str) -> None:
        self._store = store
        self._code = f"{code} {_jinja2()}"
        self.new: dict[str, bytes] = {}

    def once(
        self, what: str, text: str, values: Mapping[str, Value], make: Callable[[], list[str]]
    ) -> list[str]:
        """What `make` gives for a template, made when it is not kept; its errors are not kept.

        A variable that a template uses stands in its text: no other's value counts.
        """
        words = set(_WORD.findall(text))
        used = sorted((name, value) for name, value in values.items() if name in words)
        parts = repr((what, self._code, text, sorted(words & values.keys()), used))
        key = hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()
        kept = self.new.get(key) or self._store.get(KIND, key)
        if kept is None:
            self.new[key] = kept = json.dumps(make()).encode()
        found: list[str] = json.loads(kept)
        return found


_memory: ContextVar[Memory | None] = ContextVar("_memory", default=None)


@contextlib.contextmanager
def remembering(store: Store, code: str) -> Iterator[None]:
    """Keep renderings in a store; `code` names the state of our own code."""
    memory = Memory(store, code)
    before = _memory.set(memory)
    try:
        yield
    finally:
        _memory.reset(before)
        if memory.new:
            store.put(KIND, memory.new)


def once(
    what: str, text: str, values: Mapping[str, Value], make: Callable[[], list[str]]
) -> list[str]:
    """What `make` gives for a template, kept where renderings are."""
    memory = _memory.get()
    return make() if memory is None else memory.once(what, text, values, make)


@cache
def _jinja2() -> str:
    """Names the jinja2 that is installed, without loading it."""
    found = importlib.util.find_spec("jinja2")
    if found is None or found.origin is None:
        return ""
    stat = Path(found.origin).stat()
    return f"{found.origin} {stat.st_size} {stat.st_mtime_ns}"
