"""The toolbox's programs, each described by a YAML file that ships."""

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
    """Every tool of `directory` (the shipped toolbox by default), sorted by name.

    Raises: ManifestError with every problem of every file.
    """
    problems = Problems()
    inputs = Inputs(problems)
    tools = []
    for path in sorted((directory or shipped("manifests") / "toolbox").glob("*.yaml")):
        data = inputs.read(path, shown(path))
        node = None if data is None else document.parse(data, shown(path), problems)
        made = None if node is None else TOOL.read(node, Reading(problems))
        if made is not None:
            run = rootpath(made.run)
            tools.append(Tool(path.stem, made.summary, run, made.packages, made.lab, made.where))
    problems.check()
    return tuple(tools)
