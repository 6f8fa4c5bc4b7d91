"""The one door to shfmt, which parses shell scripts.

Source: mvdan/sh, package syntax/typedjson.
"""

import json
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
        argv: list[str | Path] = [parser(), "--to-json", f"--language-dialect={language}"]
        try:
            tree: Node = json.loads(run(argv, what="reading a script", stdin=data))
        except (ToolError, ValueError, RecursionError):
            continue
        return tree
    return None
