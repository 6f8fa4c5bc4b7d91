"""Parser of shell scripts: shfmt, confined and kept running.

Source: mvdan/sh, package syntax/typedjson.
"""

import atexit
import json
import re
import shutil
from collections.abc import Mapping
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
