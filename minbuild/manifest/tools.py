"""The toolbox's programs, each described by a YAML file that ships."""

from functools import cache
from pathlib import Path

from minbuild.manifest import document
from minbuild.manifest.format import TOOL
from minbuild.manifest.inputs import Inputs, shown
from minbuild.manifest.problems import Problems
from minbuild.manifest.shape import Reading
from minbuild.manifest.types import Tool
from minbuild.paths import rootpath
from minbuild.shipped import shipped


def load_tools(directory: Path | None = None) -> tuple[Tool, ...]:
    """Every tool of `directory` (the shipped toolbox by default, read once), sorted by name.

    Raises: ManifestError with every problem of every file.
    """
    return _shipped() if directory is None else _load(directory)


@cache
def _shipped() -> tuple[Tool, ...]:
    return _load(shipped("manifests") / "toolbox")


def _load(directory: Path) -> tuple[Tool, ...]:
    problems = Problems()
    inputs = Inputs(problems)
    tools = []
    for path in sorted(directory.glob("*.yaml")):
        data = inputs.read(path, shown(path))
        node = None if data is None else document.parse(data, shown(path), problems)
        made = None if node is None else TOOL.read(node, Reading(problems))
        if made is not None:
            run = rootpath(made.run)
            tools.append(Tool(path.stem, made.summary, run, made.packages, made.lab, made.where))
    problems.check()
    return tuple(tools)
