"""A small host whose toolbox is in the archive too, so that a lock can be made of it."""

import datetime as dt
from pathlib import Path

from minbuild.manifest.shipped_manifests import load_tools
from tests.e2e.small_host import PACKAGES, CommandResult, Small, minbuild
from tests.support.archive import DATE

DAY = dt.timedelta(days=1)
AHEAD = DATE + DAY


def tools() -> str:
    """Packages as text that hold every file that the toolbox names, as plain text."""
    paths: dict[str, dict[str, None]] = {}
    for tool in load_tools():
        for one in tool.packages:
            names = (path.replace("*", "x") for path in one.paths)
            paths.setdefault(one.package, {}).update(dict.fromkeys(names))
    blocks = []
    for name, content in paths.items():
        lines = "\n".join(f'{path} 0755 file "tool"' for path in content)
        blocks.append(f"Package: {name}\nVersion: 1.0\n{lines}\n")
    return "\n".join(blocks)


def packages(**versions: str) -> str:
    """The small host's packages and its toolbox, with other versions of some of them."""
    text = f"{PACKAGES}\n{tools()}"
    for name, version in versions.items():
        start, mark, rest = text.partition(f"Package: {name}\nVersion: ")
        assert mark, name
        old, end = rest.split("\n", 1)
        text = f"{start}{mark}{version}\n{end}" if old != version else text
    return text


def run(small: Small, *argv: str, **options: Path) -> CommandResult:
    """Run a command on the small archive and its store, in its directory."""
    return minbuild(*small.argv(*argv), cwd=options.get("cwd", small.directory))
