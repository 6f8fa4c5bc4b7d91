"""Tools of the toolbox, each described by a shipped YAML file."""

from functools import cache
from pathlib import Path

from minbuild.data import data_directory
from minbuild.manifest.document import yaml_reader
from minbuild.manifest.document.problems import Problems
from minbuild.manifest.document.schema import ReadContext
from minbuild.manifest.grammar import TOOL
from minbuild.manifest.input_files import InputFiles, display_path
from minbuild.manifest.model import Tool
from minbuild.paths import to_root_path


def load_tools(directory: Path | None = None) -> tuple[Tool, ...]:
    """Load the tools of `directory` (by default the shipped ones, read once), sorted by name.

    Raises: ManifestError with every problem of every file.
    """
    return _load_default_tools() if directory is None else _read_tools(directory)


@cache
def _load_default_tools() -> tuple[Tool, ...]:
    return _read_tools(data_directory("manifests") / "toolbox")


def _read_tools(directory: Path) -> tuple[Tool, ...]:
    problems = Problems()
    inputs = InputFiles(problems)
    tools = []
    for path in sorted(directory.glob("*.yaml")):
        data = inputs.read(path, display_path(path))
        node = (
            None if data is None else yaml_reader.parse_document(data, display_path(path), problems)
        )
        raw = None if node is None else TOOL.read(node, ReadContext(problems))
        if raw is not None:
            run = to_root_path(raw.run)
            tools.append(Tool(path.stem, raw.summary, run, raw.packages, raw.lab, raw.where))
    problems.raise_if_any()
    return tuple(tools)
