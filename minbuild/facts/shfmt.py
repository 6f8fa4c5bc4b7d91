"""The one door to shfmt, which parses shell scripts.

Source: mvdan/sh, package syntax/typedjson.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from minbuild.errors import ToolError

LANGUAGES = ("bash", "posix")
"""bash's language holds nearly all of the others'; what it refuses is tried as plain POSIX."""
Node = Mapping[str, Any]
"""A node of the syntax tree, as JSON."""


@cache
def parser() -> Path:
    """Where shfmt is: in its own distribution, or on PATH.

    Raises: ToolError when it is nowhere.
    """
    import shutil
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        files = distribution("shfmt-py").files or []
    except PackageNotFoundError:
        files = []
    places = [Path(str(one.locate())) for one in files if one.name == "shfmt"]
    places += [Path(found) for found in (shutil.which("shfmt"),) if found]
    for place in places:
        if place.is_file():
            return place
    raise ToolError("there is no shfmt, which reads shell scripts", fix="pip install shfmt-py")


def parse(data: bytes) -> Node | None:
    """Read a script into its syntax tree; None for what is no shell script.

    Raises: ToolError without shfmt.
    """
    from minbuild.run import run

    for language in LANGUAGES:
        argv = _argv(language)
        try:
            tree: Node = json.loads(run(argv, what="reading a script", stdin=data))
        except (ToolError, ValueError, RecursionError):
            continue
        return tree
    return None


def complaint(data: bytes) -> tuple[int, str]:
    """Line and cause of what keeps a script from being read as bash's or POSIX's.

    Raises: ToolError without shfmt.
    """
    from minbuild.run import PIPE, start

    with start(_argv(LANGUAGES[0]), what="reading a script", stdin=PIPE) as process:
        said = process.communicate(data)[1].decode("utf-8", "replace")
    found = re.search(r"^(?:[^:\n]*:)?(\d+):\d+: (.*)", said, re.MULTILINE)
    return (int(found[1]), found[2]) if found else (1, said.strip() or "it cannot be read")


def _argv(language: str) -> list[str | Path]:
    return [parser(), "--to-json", f"--language-dialect={language}"]
