"""Commands that a shell script runs, what it defines, and what it asks for first.

Source: POSIX.1-2024, Shell Command Language; dash(1); bash(1).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from minbuild.facts.shellinner import script_of, started
from minbuild.facts.shellwords import Word, flattened, parameter, unquoted
from minbuild.facts.shfmt import Node, parse

LARGEST = 4 << 20
"""Bytes of the largest script that is read."""
DEEPEST = 4
"""Scripts inside strings of scripts (trap, eval, sh -c) that are looked into."""


@dataclass(frozen=True, slots=True)
class Use:
    """One command that a script runs by a name that stands in it."""

    name: str
    """A name, or a path with a slash."""
    line: int
    """From 1."""


@dataclass(frozen=True, slots=True)
class Shell:
    """What one shell script runs, makes and reads."""

    uses: tuple[Use, ...] = ()
    """In the script's order; names that a variable holds only where it is set once, to a word."""
    functions: tuple[str, ...] = ()
    """Functions and aliases; sorted."""
    guarded: tuple[str, ...] = ()
    """What the script itself asks for before it runs it (`command -v`, `[ -x`); sorted."""
    sources: tuple[str, ...] = ()
    """Absolute paths of files that it reads with `.`; sorted."""
    path: tuple[str, ...] = ()
    """Directories that it puts into PATH; sorted."""
    open_path: bool = False
    """Something that is not known is put into PATH."""
    open_sources: bool = False
    """It reads a file whose path only the running script knows, which may hold functions."""
    unread: bool = False
    """It is no shell script, or a part of it is not."""


def shell(data: bytes) -> Shell:
    """Read a script.

    Raises: ToolError without shfmt.
    """
    if len(data) > LARGEST:
        return Shell(unread=True)
    found = _Found()
    _read(data, 0, 0, found)
    held = {
        name: values[0]
        for name, values in found.values.items()
        if len(values) == 1 and found.settings[name] == 1
    }
    uses = list(found.uses)
    uses += [Use(held[name], line) for name, line in found.variables if name in held]
    found.guarded |= {held[name] for name in found.asked if name in held}
    return Shell(
        uses=tuple(sorted(dict.fromkeys(uses), key=lambda use: (use.line, use.name))),
        functions=tuple(sorted(found.functions)),
        guarded=tuple(sorted(found.guarded | {name.rpartition("/")[2] for name in found.guarded})),
        sources=tuple(sorted(found.sources)),
        path=tuple(sorted(found.path)),
        open_path=found.open_path,
        open_sources=found.open_sources,
        unread=found.unread,
    )


@dataclass(slots=True)
class _Found:
    uses: list[Use] = field(default_factory=list)
    variables: list[tuple[str, int]] = field(default_factory=list)
    """Variables that stand for a command, each with its line."""
    values: dict[str, list[str]] = field(default_factory=dict)
    settings: Counter[str] = field(default_factory=Counter)
    functions: set[str] = field(default_factory=set)
    guarded: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    """Variables whose values the script asks for before it runs them."""
    sources: set[str] = field(default_factory=set)
    path: set[str] = field(default_factory=set)
    open_path: bool = False
    open_sources: bool = False
    unread: bool = False


def _read(data: bytes, above: int, depth: int, found: _Found) -> None:
    """Take what a script says; `above`: lines of the script that it stands in."""
    tree = parse(data)
    if tree is None:
        found.unread = True
        return
    todo: list[Any] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo.extend(node)
        elif isinstance(node, dict):
            handler = _HANDLERS.get(node.get("Type", ""))
            if handler is not None:
                handler(node, above, depth, found)
            todo.extend(value for value in node.values() if isinstance(value, dict | list))


def _function(node: Node, above: int, depth: int, found: _Found) -> None:
    found.functions.add(node["Name"]["Value"])


def _loop(node: Node, above: int, depth: int, found: _Found) -> None:
    name = node["Loop"].get("Name")
    if name is not None:
        found.settings[name["Value"]] += 2


def _declared(node: Node, above: int, depth: int, found: _Found) -> None:
    _assigned(node.get("Args", ()), above, found)


def _assigned(assigns: Sequence[Node], above: int, found: _Found) -> None:
    for one in assigns:
        name = one.get("Name")
        if name is None or one.get("Naked"):
            continue
        variable = name["Value"]
        found.settings[variable] += 2 if one.get("Append") else 1
        value = unquoted(one["Value"], above) if "Value" in one else Word("", 0)
        if variable == "PATH":
            _search(one.get("Value", {}).get("Parts", ()), found)
        if value.text and len(value.text.split()) == 1:
            found.values.setdefault(variable, []).append(value.text)


def _search(parts: Sequence[Node], found: _Found) -> None:
    """Directories that a value of PATH names; `$PATH` itself is no news."""
    text = ""
    for part in flattened(parts):
        if part["Type"] in ("Lit", "SglQuoted"):
            text += part.get("Value", "")
        else:
            text += "" if parameter(part) == "PATH" else "\0"
    for directory in text.split(":"):
        if directory.startswith("/") and "\0" not in directory:
            found.path.add(directory)
        elif directory:
            found.open_path = True


def _command(node: Node, above: int, depth: int, found: _Found) -> None:
    _assigned(node.get("Assigns", ()), above, found)
    words = [unquoted(word, above) for word in node.get("Args", ())]
    if words:
        _run(words, above, depth, found)


def _binary_test(node: Node, above: int, depth: int, found: _Found) -> None:
    """`[[ -x FILE ]]` says that a file may not be there."""
    if node.get("Op") in _MAY_LACK and "Parts" in node.get("X", {}):
        _guard(unquoted(node["X"], above), found)


_MAY_LACK = ("-x", "-e", "-f", "-r", "-s")


def _run(words: Sequence[Word], above: int, depth: int, found: _Found) -> None:
    """Take one command, and those that it runs in turn."""
    if not words:
        return
    first, rest = words[0], words[1:]
    line = first.line
    if first.text is None:
        if first.variable:
            found.variables.append((first.variable, line))
        return
    if not first.text:
        return
    found.uses.append(Use(first.text, line))
    name = first.text.rpartition("/")[2]
    special = _SPECIAL.get(name)
    if special is not None:
        special(rest, found)
    for inner in started(name, rest):
        _run(inner, above, depth, found)
    script = script_of(name, rest)
    if script is not None and script.text and depth < DEEPEST:
        _read(script.text.encode(), script.line - 1, depth + 1, found)


def _asks(words: Sequence[Word], found: _Found) -> None:
    """`command -v NAME`, `type NAME`, `which NAME`, `hash NAME`: NAME may not be there."""
    for word in words:
        if word.text is None or word.text[:1] != "-":
            _guard(word, found)


def _tests(words: Sequence[Word], found: _Found) -> None:
    """`[ -x FILE ]`: FILE may not be there."""
    for before, word in pairwise(words):
        if before.text in _MAY_LACK:
            _guard(word, found)


def _guard(word: Word, found: _Found) -> None:
    """Note what may not be there: by its name, or by the variable that holds it."""
    if word.text:
        found.guarded.add(word.text)
    elif word.variable:
        found.asked.add(word.variable)


def _asks_command(words: Sequence[Word], found: _Found) -> None:
    if words and words[0].text in ("-v", "-V"):
        _asks(words[1:], found)


def _reads(words: Sequence[Word], found: _Found) -> None:
    if words and words[0].text and words[0].text.startswith("/"):
        found.sources.add(words[0].text)
    elif words:
        found.open_sources = True


def _names(words: Sequence[Word], found: _Found) -> None:
    for word in words:
        found.functions.add((word.text or "").partition("=")[0])


def _sets(words: Sequence[Word], found: _Found) -> None:
    """`read NAME…`, `getopts OPTIONS NAME`: what a variable holds is known only when run."""
    for word in words:
        if word.text:
            found.settings[word.text] += 2


_SPECIAL: Mapping[str, Callable[[Sequence[Word], _Found], None]] = {
    "command": _asks_command,
    "type": _asks,
    "which": _asks,
    "hash": _asks,
    "[": _tests,
    "test": _tests,
    ".": _reads,
    "source": _reads,
    "alias": _names,
    "read": _sets,
    "getopts": _sets,
}
_HANDLERS: Mapping[str, Callable[[Node, int, int, _Found], None]] = {
    "FuncDecl": _function,
    "DeclClause": _declared,
    "ForClause": _loop,
    "UnaryTest": _binary_test,
    "CallExpr": _command,
}
