"""The one door to shfmt, which parses shell scripts.

Source: mvdan/sh, package syntax/typedjson.
"""

import atexit
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minbuild.errors import ToolError

if TYPE_CHECKING:
    from minbuild.sandbox.run import Confined, Server

LANGUAGES = ("bash", "posix")
"""bash's language holds nearly all of the others'; what it refuses is tried as plain POSIX."""
MOST, SECONDS = 32 << 20, 20
"""Bytes of the largest syntax tree that is read, as JSON, and the longest time that it may take."""
LIBRARIES = tuple(map(Path, ("/usr", "/lib", "/lib64", "/nix/store", "/gnu/store")))
"""Where a shfmt that is not of its own distribution may have its libraries."""
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
            return place.resolve()
    raise ToolError("there is no shfmt, which reads shell scripts", fix="pip install shfmt-py")


def parse(data: bytes) -> Node | None:
    """Read a script into its syntax tree; None for what is no shell script, or too much of one.

    Raises: ToolError without shfmt.
    """
    for language in LANGUAGES:
        code, tree = _server(language).ask(data)
        if code < 0:
            return None
        if not code:
            try:
                found: Node = json.loads(tree)
            except (ValueError, RecursionError):
                continue
            return found
    return None


def complaint(data: bytes) -> tuple[int, str]:
    """Line and cause of what keeps a script from being read as bash's or POSIX's.

    Raises: ToolError without shfmt.
    """
    from minbuild.sandbox.run import run

    said = ""
    try:
        run(_confined(LANGUAGES[0]), what="reading a script", stdin=data)
    except ToolError as error:
        said = error.what.partition("\n")[2]
    found = re.search(r"^ *(?:[^:\n]*:)?(\d+):\d+: (.*)", said, re.MULTILINE)
    return (int(found[1]), found[2]) if found else (1, said.strip() or "it cannot be read")


@cache
def _server(language: str) -> "Server":
    """shfmt for one language, begun once: scripts come from packages and strangers."""
    from minbuild.sandbox.run import Server

    server = Server(_confined(language), what="reading a script")
    atexit.register(server.close)
    return server


def _is_static(place: Path) -> bool:
    """Whether it is a program without a loader, as that of its distribution is."""
    with place.open("rb") as file:
        return b"/ld-" not in file.read(4096)


def _confined(language: str) -> "Confined":
    from minbuild.sandbox.run import Bounds, Confined

    place = parser()
    reads = [place, *(path for path in LIBRARIES if path.exists() and not _is_static(place))]
    argv: list[str | Path] = [place, "--to-json", f"--language-dialect={language}"]
    return Confined(argv, reads, {}, bounds=Bounds(seconds=SECONDS, output=MOST))
