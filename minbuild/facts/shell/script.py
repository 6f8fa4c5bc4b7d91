"""Shell scripts: the commands that they run, define and test for.

Source: POSIX.1-2024, Shell Command Language; dash(1); bash(1).
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any

from minbuild.facts.shell.syntax import (
    ShellWord,
    SyntaxNode,
    find_inline_script,
    find_parameter,
    find_wrapped_commands,
    parse_script,
    read_word,
    walk_parts,
)

MAX_SCRIPT_SIZE = 4 << 20
"""Bytes of the largest script that is read."""
MAX_DEPTH = 4
"""Scripts inside strings of scripts (trap, eval, sh -c) that are looked into."""


@dataclass(frozen=True, slots=True)
class CommandUse:
    """One command that a script runs by a name that stands in it."""

    name: str
    """A name, or a path with a slash."""
    line: int
    """From 1."""


@dataclass(frozen=True, slots=True)
class ShellScript:
    """What one shell script runs, makes and reads."""

    uses: tuple[CommandUse, ...] = ()
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


def read_shell_script(data: bytes) -> ShellScript:
    """Read a script.

    Raises: ToolError without shfmt.
    """
    if len(data) > MAX_SCRIPT_SIZE:
        return ShellScript(unread=True)
    findings = _Findings()
    _walk_script(data, 0, 0, findings)
    constants = {
        name: values[0]
        for name, values in findings.values.items()
        if len(values) == 1 and findings.settings[name] == 1
    }
    uses = list(findings.uses)
    uses += [
        CommandUse(constants[name], line) for name, line in findings.variables if name in constants
    ]
    findings.guarded |= {constants[name] for name in findings.queried if name in constants}
    return ShellScript(
        uses=tuple(sorted(dict.fromkeys(uses), key=lambda use: (use.line, use.name))),
        functions=tuple(sorted(findings.functions)),
        guarded=tuple(
            sorted(findings.guarded | {name.rpartition("/")[2] for name in findings.guarded})
        ),
        sources=tuple(sorted(findings.sources)),
        path=tuple(sorted(findings.path)),
        open_path=findings.open_path,
        open_sources=findings.open_sources,
        unread=findings.unread,
    )


VALUE_MARK = "minbuildvalue"
"""Stands for the values of a shape, each with a number behind it."""
_PLAIN_ASSIGNMENT = re.compile(
    rb"^(?!PATH=)([A-Za-z_][A-Za-z0-9_]*=)('?)[A-Za-z0-9_./:@%+,-]+(\2)$", re.MULTILINE
)
"""A line that sets a variable to one plain word, which no quotes around the line read otherwise."""


def find_shape(data: bytes) -> bytes:
    """A script with marks for the values that whole lines set (`NAME='rack7'`).

    Scripts of one shape run the same commands, unless what was read of the shape names a mark
    (`names_value`): what a variable holds counts only where it stands for a command.
    """
    numbers = count()
    return _PLAIN_ASSIGNMENT.sub(
        lambda match: (
            b"%s%s%s%d%s" % (match[1], match[2], VALUE_MARK.encode(), next(numbers), match[3])
        ),
        data,
    )


def names_value(script: ShellScript) -> bool:
    """Tell whether what was read of a shape depends on the values that marks stand for."""
    names = [use.name for use in script.uses]
    parts = (*names, *script.functions, *script.guarded, *script.sources, *script.path)
    return any(VALUE_MARK in part for part in parts)


@dataclass(slots=True)
class _Findings:
    uses: list[CommandUse] = field(default_factory=list)
    variables: list[tuple[str, int]] = field(default_factory=list)
    """Variables that stand for a command, each with its line."""
    values: dict[str, list[str]] = field(default_factory=dict)
    settings: Counter[str] = field(default_factory=Counter)
    functions: set[str] = field(default_factory=set)
    guarded: set[str] = field(default_factory=set)
    queried: set[str] = field(default_factory=set)
    """Variables whose values the script asks for before it runs them."""
    sources: set[str] = field(default_factory=set)
    path: set[str] = field(default_factory=set)
    open_path: bool = False
    open_sources: bool = False
    unread: bool = False


def _walk_script(data: bytes, line_offset: int, depth: int, findings: _Findings) -> None:
    """Take what a script says; `above`: lines of the script that it stands in."""
    tree = parse_script(data)
    if tree is None:
        findings.unread = True
        return
    pending: list[Any] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            handler = _HANDLERS.get(node.get("Type", ""))
            if handler is not None:
                handler(node, line_offset, depth, findings)
            pending.extend(value for value in node.values() if isinstance(value, dict | list))


def _note_function(node: SyntaxNode, line_offset: int, depth: int, findings: _Findings) -> None:
    findings.functions.add(node["Name"]["Value"])


def _note_loop(node: SyntaxNode, line_offset: int, depth: int, findings: _Findings) -> None:
    name = node["Loop"].get("Name")
    if name is not None:
        findings.settings[name["Value"]] += 2


def _note_declaration(node: SyntaxNode, line_offset: int, depth: int, findings: _Findings) -> None:
    _note_assignments(node.get("Args", ()), line_offset, findings)


def _note_assignments(assigns: Sequence[SyntaxNode], line_offset: int, findings: _Findings) -> None:
    for assign in assigns:
        name = assign.get("Name")
        if name is None or assign.get("Naked"):
            continue
        variable = name["Value"]
        findings.settings[variable] += 2 if assign.get("Append") else 1
        value = read_word(assign["Value"], line_offset) if "Value" in assign else ShellWord("", 0)
        if variable == "PATH":
            _note_path_directories(assign.get("Value", {}).get("Parts", ()), findings)
        if value.text and len(value.text.split()) == 1:
            findings.values.setdefault(variable, []).append(value.text)


def _note_path_directories(parts: Sequence[SyntaxNode], findings: _Findings) -> None:
    """Directories that a value of PATH names; `$PATH` itself is no news."""
    value = ""
    for part in walk_parts(parts):
        if part["Type"] in ("Lit", "SglQuoted"):
            value += part.get("Value", "")
        else:
            value += "" if find_parameter(part) == "PATH" else "\0"
    for directory in value.split(":"):
        if directory.startswith("/") and "\0" not in directory:
            findings.path.add(directory)
        elif directory:
            findings.open_path = True


def _note_call(node: SyntaxNode, line_offset: int, depth: int, findings: _Findings) -> None:
    _note_assignments(node.get("Assigns", ()), line_offset, findings)
    words = [read_word(word, line_offset) for word in node.get("Args", ())]
    if words:
        _note_command(words, line_offset, depth, findings)


def _note_file_test(node: SyntaxNode, line_offset: int, depth: int, findings: _Findings) -> None:
    """`[[ -x FILE ]]` says that a file may not be there."""
    if node.get("Op") in _MAY_LACK and "Parts" in node.get("X", {}):
        _note_guard(read_word(node["X"], line_offset), findings)


_MAY_LACK = ("-x", "-e", "-f", "-r", "-s")


def _note_command(
    words: Sequence[ShellWord], line_offset: int, depth: int, findings: _Findings
) -> None:
    """Take one command, and those that it runs in turn."""
    if not words:
        return
    first, arguments = words[0], words[1:]
    line = first.line
    if first.text is None:
        if first.variable:
            findings.variables.append((first.variable, line))
        return
    if not first.text:
        return
    findings.uses.append(CommandUse(first.text, line))
    name = first.text.rpartition("/")[2]
    special = _SPECIAL.get(name)
    if special is not None:
        special(arguments, findings)
    for wrapped in find_wrapped_commands(name, arguments):
        _note_command(wrapped, line_offset, depth, findings)
    script = find_inline_script(name, arguments)
    if script is not None and script.text and depth < MAX_DEPTH:
        _walk_script(script.text.encode(), script.line - 1, depth + 1, findings)


def _note_queries(words: Sequence[ShellWord], findings: _Findings) -> None:
    """`command -v NAME`, `type NAME`, `which NAME`, `hash NAME`: NAME may not be there."""
    for word in words:
        if word.text is None or word.text[:1] != "-":
            _note_guard(word, findings)


def _note_tests(words: Sequence[ShellWord], findings: _Findings) -> None:
    """`[ -x FILE ]`: FILE may not be there."""
    for before, word in pairwise(words):
        if before.text in _MAY_LACK:
            _note_guard(word, findings)


def _note_guard(word: ShellWord, findings: _Findings) -> None:
    """Note what may not be there: by its name, or by the variable that holds it."""
    if word.text:
        findings.guarded.add(word.text)
    elif word.variable:
        findings.queried.add(word.variable)


def _note_command_query(words: Sequence[ShellWord], findings: _Findings) -> None:
    if words and words[0].text in ("-v", "-V"):
        _note_queries(words[1:], findings)


def _note_sourced_file(words: Sequence[ShellWord], findings: _Findings) -> None:
    if words and words[0].text and words[0].text.startswith("/"):
        findings.sources.add(words[0].text)
    elif words:
        findings.open_sources = True


def _note_aliases(words: Sequence[ShellWord], findings: _Findings) -> None:
    for word in words:
        findings.functions.add((word.text or "").partition("=")[0])


def _note_settings(words: Sequence[ShellWord], findings: _Findings) -> None:
    """`read NAME…`, `getopts OPTIONS NAME`: what a variable holds is known only when run."""
    for word in words:
        if word.text:
            findings.settings[word.text] += 2


_SPECIAL: Mapping[str, Callable[[Sequence[ShellWord], _Findings], None]] = {
    "command": _note_command_query,
    "type": _note_queries,
    "which": _note_queries,
    "hash": _note_queries,
    "[": _note_tests,
    "test": _note_tests,
    ".": _note_sourced_file,
    "source": _note_sourced_file,
    "alias": _note_aliases,
    "read": _note_settings,
    "getopts": _note_settings,
}
_HANDLERS: Mapping[str, Callable[[SyntaxNode, int, int, _Findings], None]] = {
    "FuncDecl": _note_function,
    "DeclClause": _note_declaration,
    "ForClause": _note_loop,
    "UnaryTest": _note_file_test,
    "CallExpr": _note_call,
}
