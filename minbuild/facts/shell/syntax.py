"""Syntax of shell scripts: shfmt's tree (confined and kept running), words with their constant
text, and commands that run others (`xargs`, `timeout`).

Source: mvdan/sh, package syntax/typedjson; POSIX.1-2024, Shell Command Language, "Quoting"; manual
pages of GNU coreutils, findutils and util-linux; dash(1).
"""

import atexit
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from minbuild.errors import ToolError
from minbuild.sandbox.runner import ConfinedProgram, ResourceLimits, SandboxServer, run_confined

LANGUAGES = ("bash", "posix")
"""bash's language has nearly all of the others'; what it refuses is parsed as POSIX."""
MAX_TREE_SIZE, TIMEOUT = 32 << 20, 20
"""Bytes of the largest syntax tree that is read, as JSON, and the longest time that it may take."""
LIBRARIES = tuple(map(Path, ("/usr", "/lib", "/lib64", "/nix/store", "/gnu/store")))
"""Where a shfmt that is not of its own distribution may have its libraries."""
SyntaxNode = Mapping[str, Any]
"""A node of the syntax tree, as JSON."""


@cache
def find_shfmt() -> Path:
    """Where shfmt is: in its own distribution, or on PATH.

    Raises: ToolError when it is nowhere.
    """
    try:
        files = distribution("shfmt-py").files or []
    except PackageNotFoundError:
        files = []
    paths = [Path(str(one.locate())) for one in files if one.name == "shfmt"]
    paths += [Path(found) for found in (shutil.which("shfmt"),) if found]
    for path in paths:
        if path.is_file():
            return path.resolve()
    raise ToolError("there is no shfmt, which reads shell scripts", fix="pip install shfmt-py")


def parse_script(data: bytes) -> SyntaxNode | None:
    """Read a script into its syntax tree; None for what is no shell script, or too much of one.

    Raises: ToolError without shfmt.
    """
    for language in LANGUAGES:
        code, tree = _start_server(language).run_once(data)
        if code < 0:
            return None
        if not code:
            try:
                syntax_tree: SyntaxNode = json.loads(tree)
            except (ValueError, RecursionError):
                continue
            return syntax_tree
    return None


def explain_syntax_error(data: bytes) -> tuple[int, str]:
    """Line and cause of what keeps a script from being read as bash's or POSIX's.

    Raises: ToolError without shfmt.
    """
    output = ""
    try:
        run_confined(_confine(LANGUAGES[0]), purpose="reading a script", stdin=data)
    except ToolError as error:
        output = error.what.partition("\n")[2]
    match = re.search(r"^ *(?:[^:\n]*:)?(\d+):\d+: (.*)", output, re.MULTILINE)
    return (int(match[1]), match[2]) if match else (1, output.strip() or "it cannot be read")


@cache
def _start_server(language: str) -> SandboxServer:
    """shfmt for one language, begun once: scripts come from packages and strangers."""
    server = SandboxServer(_confine(language), purpose="reading a script")
    atexit.register(server.close)
    return server


def _is_static(program: Path) -> bool:
    """Whether it is a program without a loader, as that of its distribution is."""
    with program.open("rb") as file:
        return b"/ld-" not in file.read(4096)


def _confine(language: str) -> ConfinedProgram:
    program = find_shfmt()
    reads = [program, *(path for path in LIBRARIES if path.exists() and not _is_static(program))]
    argv: list[str | Path] = [program, "--to-json", f"--language-dialect={language}"]
    return ConfinedProgram(
        argv, reads, {}, limits=ResourceLimits(seconds=TIMEOUT, output=MAX_TREE_SIZE)
    )


@dataclass(frozen=True, slots=True)
class ShellWord:
    """One word of a command, its quotes undone."""

    text: str | None
    """None where a part of it is known only when the script runs."""
    line: int
    variable: str = ""
    """The variable that the whole word stands for."""


def read_word(node: SyntaxNode, line_offset: int) -> ShellWord:
    """Read a word; `above`: lines before the script that it stands in."""
    line = line_offset + node["Pos"]["Line"]
    parts = node.get("Parts", ())
    flat = list(walk_parts(parts))
    if len(flat) == 1 and find_parameter(flat[0]):
        return ShellWord(None, line, find_parameter(flat[0]))
    texts = []
    for part in parts:
        text = (
            _read_double_quoted(part.get("Parts", ()))
            if part["Type"] == "DblQuoted"
            else _read_unquoted(part)
        )
        if text is None:
            return ShellWord(None, line)
        texts.append(text)
    return ShellWord("".join(texts), line)


def _read_unquoted(part: SyntaxNode) -> str | None:
    """What an unquoted or single-quoted part says; None for what is known only when run."""
    value = str(part.get("Value", ""))
    if part["Type"] == "SglQuoted":
        return value
    if part["Type"] != "Lit" or any(letter in value for letter in "*?~"):
        return None
    return value.replace("\\\n", "").replace("\\", "")


def _read_double_quoted(parts: Sequence[SyntaxNode]) -> str | None:
    if any(part["Type"] != "Lit" for part in parts):
        return None
    text = "".join(str(part.get("Value", "")) for part in parts)
    return text.replace("\\\n", "").replace('\\"', '"').replace("\\$", "$").replace("\\`", "`")


def find_parameter(part: SyntaxNode) -> str:
    """The variable of $X and ${X}; "" for all else."""
    if part["Type"] != "ParamExp" or not {*part} <= _PLAIN_FIELDS:
        return ""
    return str(part.get("Param", {}).get("Value", ""))


_PLAIN_FIELDS = {"Type", "Pos", "End", "Dollar", "Rbrace", "Short", "Param"}


def walk_parts(parts: Sequence[SyntaxNode]) -> Iterator[SyntaxNode]:
    """Go through the parts of a word, those between double quotes among them."""
    for part in parts:
        if part["Type"] == "DblQuoted":
            yield from walk_parts(part.get("Parts", ()))
        else:
            yield part


SHELLS = ("sh", "dash", "ash", "bash")


def find_wrapped_commands(
    name: str, arguments: Sequence[ShellWord]
) -> Iterator[Sequence[ShellWord]]:
    """The commands that a command runs in turn."""
    if name in _WRAPPERS:
        yield _skip_options(arguments, _WRAPPERS[name])
    elif name == "find":
        for number, word in enumerate(arguments):
            if word.text in ("-exec", "-execdir", "-ok", "-okdir"):
                yield arguments[number + 1 : number + 2]


def _skip_options(words: Sequence[ShellWord], options: str) -> Sequence[ShellWord]:
    """The command among the words of another one: what follows its options and settings."""
    options, _, skip = options.partition(" ")
    operands = int(skip or 0)
    number = 0
    while number < len(words):
        text = words[number].text
        if text is None:
            return () if operands else words[number:]
        if text == "--":
            number += 1
        elif text.startswith("-") and len(text) > 1:
            number += 2 if len(text) == 2 and text[1] in options else 1
        elif "=" in text.partition("/")[0]:
            number += 1
        elif operands:
            operands -= 1
            number += 1
        else:
            return words[number:]
    return ()


_WRAPPERS: Mapping[str, str] = {
    "env": "uSC",
    "exec": "a",
    "command": "",
    "builtin": "",
    "nohup": "",
    "setsid": "",
    "nice": "n",
    "ionice": "cnpPu",
    "timeout": "ks 1",
    "xargs": "IadEnLPs",
    "stdbuf": "ioe",
    "flock": "wE 1",
    "chrt": " 1",
    "busybox": "",
    "time": "fo",
}
"""Commands that run another: their options that take a word, and how many words go before it.

Source: their manual pages (GNU coreutils, findutils, util-linux).
"""


def find_inline_script(name: str, words: Sequence[ShellWord]) -> ShellWord | None:
    """The word that is a script of its own: of trap, eval, sh -c."""
    if name == "trap" and len(words) > 1 and words[0].text not in ("-", "--", None):
        return words[0]
    if name == "eval" and len(words) == 1:
        return words[0]
    if name in SHELLS:
        for at, word in enumerate(words[:-1]):
            if word.text is not None and word.text.startswith("-") and word.text.endswith("c"):
                return words[at + 1]
    return None
