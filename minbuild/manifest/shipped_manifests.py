"""Documents that ship: manifests by name, starters for new ones, and the tools of the toolbox."""

import re
from functools import cache
from pathlib import Path

from minbuild.data import MANIFEST_SUFFIXES, data_directory
from minbuild.errors import ManifestError, UsageError
from minbuild.manifest.document import yaml_reader
from minbuild.manifest.document.nodes import Problems, find_nearest, suggest
from minbuild.manifest.document.scalars import ReadContext
from minbuild.manifest.grammar import TOOL
from minbuild.manifest.input_files import InputFiles, display_path
from minbuild.manifest.model import Tool
from minbuild.manifest.names import NAME_PATTERN
from minbuild.paths import to_root_path

SCHEMA_FILE = "minbuild.schema.json"
"""The JSON Schema of manifests, which `minbuild init` writes beside a new one."""


def find_manifest(name: str) -> Path:
    """Return the file of a manifest: a path, or the name of a shipped manifest.

    Raises: ManifestError with a similar name.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = find_shipped(name)
    if shipped is not None:
        return shipped
    message = "this is a directory, not a manifest" if path.is_dir() else "no such manifest"
    candidates = [
        *_list_yaml_files(path if path.is_dir() else path.parent),
        *_list_yaml_files(_locate_manifests()),
    ]
    raise ManifestError(message, where=name, fix=suggest(path.name, candidates))


def find_only_manifest(directory: Path) -> Path:
    """Return the one manifest in a directory.

    Raises: UsageError if there is none, or several.
    """
    manifests = [
        directory / name
        for name in _list_yaml_files(directory)
        if re.search("^minbuild:", (directory / name).read_text("utf-8", "replace"), re.MULTILINE)
    ]
    if len(manifests) == 1:
        return manifests[0]
    names = ", ".join(path.name for path in manifests)
    raise UsageError(
        f"there are several manifests: {names}" if manifests else "there is no manifest here",
        where=str(directory),
        fix="name one: --manifest FILE" if manifests else "write one: minbuild init",
    )


def find_shipped(name: str) -> Path | None:
    """Return the shipped manifest of this name, with or without .yaml; None if there is none."""
    if "/" in name or "\0" in name or not name:
        return None
    for candidate in (_locate_manifests() / name, _locate_manifests() / f"{name}.yaml"):
        if candidate.suffix == ".yaml" and candidate.is_file():
            return candidate
    return None


def find_extended(name: str, directory: Path) -> Path | None:
    """Return the file of a name in `extends` of a document in `directory`; None if there is none."""
    sibling = directory / name
    return sibling if sibling.is_file() else find_shipped(name)


def suggest_extended(name: str, directory: Path) -> str:
    """Say what to write in `extends` instead of an unknown name."""
    parent = (directory / name).parent
    files = [f"{Path(name).parent / file}" for file in _list_yaml_files(parent)]
    shipped = list_shipped()
    closest = find_nearest(name, [*files, *shipped]) or find_nearest(Path(name).stem, shipped)
    if closest:
        return f"did you mean {closest}?"
    return f"write a file next to this one, or a shipped manifest: {', '.join(shipped)}"


def list_shipped() -> list[str]:
    """Return the names of all shipped manifests."""
    return sorted(Path(file).stem for file in _list_yaml_files(_locate_manifests()))


def _locate_manifests() -> Path:
    return data_directory("manifests")


def _list_yaml_files(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir() if path.suffix in MANIFEST_SUFFIXES)
    except OSError:
        return []


_STARTER = """\
# A host for minbuild; build it with `minbuild make`, which writes to build/{name}/.
# Every key is described in the reference: docs/reference/manifest.md

minbuild: 1                    # version of this format
name: {name}
extends: [host]                # start from a manifest that ships; the keys below are added

vars:                          # {{{{ hostname }}}} in strings and templates; --set hostname=x wins
  hostname: {host}

# kernel:
#   cmdline: [quiet]           # added to the command line of the shipped host

# services:
#   use: [logging]             # more components; `minbuild components` lists them

# keep:                        # more files of packages, with all that they need
#   - {{package: pciutils, paths: [/usr/bin/lspci]}}

files:                         # files that are made here; they replace those of components
  /etc/motd: {{content: "Welcome to {{{{ hostname }}}}\\n"}}

# drop:                        # files that a need brings in, left out knowingly
#   - {{path: "/usr/lib/*/gconv/*", because: "no charset conversion on this host"}}

image:
  compression: xz              # xz is smallest, zstd is fast to make, none is neither

budget:                        # the build fails when it needs more
  files: 60
  packed: 20 MB
"""


def render_starter(name: str) -> str:
    """Render a commented manifest for a host; the name is converted to a valid one."""
    cleaned = _clean_name(name)
    return _STARTER.format(name=cleaned, host=clean_host_name(cleaned))


def clean_host_name(name: str) -> str:
    """Convert the name of a manifest to a host name. Source: RFC 1123, 2.1."""
    labels = (label.strip("-") for label in re.sub("[^a-z0-9.-]+", "-", name).split("."))
    return ".".join(filter(None, labels))[:63].rstrip("-.") or "host"


def copy_shipped(origin: str, name: str) -> str:
    """Return the text of a shipped manifest under another name.

    Raises: UsageError if there is no manifest `origin`.
    """
    file = find_shipped(origin)
    if file is None:
        fix = suggest(origin, list_shipped())
        raise UsageError(f"there is no shipped manifest {origin}", where="--from", fix=fix)
    text = file.read_text(encoding="utf-8")
    return re.sub(r"(?m)^name: .*$", f"name: {_clean_name(name)}", text, count=1)


def add_modeline(text: str) -> str:
    """Put a line above a manifest by which editors find the JSON Schema beside it.

    Source: yaml-language-server, README, "Using inlined schema"; SCHEMA_FILE is relative to the manifest.
    """
    return f"# yaml-language-server: $schema={SCHEMA_FILE}\n{text}"


def _clean_name(name: str) -> str:
    """Convert a text to a valid name of a manifest."""
    cleaned = re.sub("[^a-z0-9+._-]+", "-", name.lower()).strip("-._+") or "host"
    assert re.fullmatch(NAME_PATTERN, cleaned)
    return cleaned


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
