"""ShellCheck over every shell script that this project ships: `make check`.

Scripts of components are looked at as an image gets them: loaded and rendered by
`minbuild.manifest`, for each manifest that ships and for each component alone. What a script
sources is followed. A finding names the template and its line. Source: shellcheck(1), -x, json1.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbuild.manifest.components import list_components
from minbuild.manifest.files import locate_line
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Location, Manifest, RenderedFile, TemplateSource
from minbuild.manifest.text_use import TextUse, classify_text

ROOT = Path(__file__).parents[1]
MANIFESTS = ROOT / "manifests"
PLAIN = (".ci/run", "docs/ci/*.sh", "elements/*/*.d/*")
"""Scripts that are used as they stand."""
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
_SOURCED = re.compile(rb"(?m)^( *\. )(?=/usr/)")


@dataclass(frozen=True)
class Script:
    """A script as it is run or sourced."""

    text: bytes
    name: str
    """The file that it was copied from, or its path in the image."""
    template: TemplateSource | None = None

    def place(self, line: int) -> Location | str:
        """Where a line of the script was written."""
        return f"{self.name}:{line}" if self.template is None else locate_line(self.template, line)


def main() -> int:
    """Print every finding; 1 when there is one."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        findings = check(find_scripts(directory), directory)
    print(*findings, sep="\n", end="\n" if findings else "")
    return bool(findings)


def find_scripts(directory: Path) -> tuple[Script, ...]:
    """Every script once; what scripts source lies in `directory` then, as in an image."""
    plain = [path for glob in PLAIN for path in sorted(ROOT.glob(glob))]
    scripts = {path.read_bytes(): Script(path.read_bytes(), _shown(path)) for path in plain}
    copied = {path.read_bytes(): _shown(path) for path in MANIFESTS.rglob("*") if path.is_file()}
    for manifest in load_all(directory):
        for file in (file for component in manifest.components for file in component.files):
            if is_script(file):
                name = copied.get(file.content, str(file.path))
                scripts.setdefault(file.content, Script(file.content, name, file.template))
                path = directory / file.path.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.content)
    return tuple(scripts.values())


REQUIRED = {"network/static": {"address": "192.0.2.10/24"}}
"""Component → variables without which it does not load alone."""


def load_all(directory: Path) -> Iterator[Manifest]:
    """Every manifest that ships, and one for each component alone, with what it needs."""
    for path in sorted(MANIFESTS.glob("*.yaml")):
        yield read_manifest(path, settings={}, components=())
    path = directory / "alone.yaml"
    for component in list_components(()):
        section, _, name = component.name.partition("/")
        use = f"use: [{name}]"
        lines = ["minbuild: 1", "arch: amd64", "kernel:", "  package: linux-image-amd64"]
        lines += [f"  {use}"] if section == "kernel" else [f"{section}: {{{use}}}"]
        path.write_text("\n".join(lines))
        settings = REQUIRED.get(component.name, {})
        yield read_manifest(path, settings=settings, components=())


def is_script(file: RenderedFile) -> bool:
    """Tell whether a shell runs or sources the file."""
    text = file.content.decode(errors="replace")
    return classify_text(str(file.path), text, file.mode) is TextUse.SHELL if text else False


def check(scripts: tuple[Script, ...], directory: Path) -> list[str]:
    """What shellcheck says of the scripts, a line each, sorted.

    Raises: RuntimeError when shellcheck itself fails.
    """
    root = str(directory).encode()
    paths: dict[str, Script] = {}
    for number, script in enumerate(scripts):
        path = directory / f"{number}.sh"
        path.write_bytes(_SOURCED.sub(rb"\1" + root, script.text))
        paths[str(path)] = script
    with ThreadPoolExecutor() as pool:
        rows = [row for result in pool.map(_run, paths) for row in result]
    return sorted({_line(paths[row["file"]], row) for row in rows if row["file"] in paths})


def _run(path: str) -> list[Mapping[str, Any]]:
    argv = [str(SHELLCHECK), "--external-sources", "--format=json1", path]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode > 1:
        raise RuntimeError(f"shellcheck ends with {result.returncode}: {result.stderr}")
    rows: list[Mapping[str, Any]] = json.loads(result.stdout)["comments"]
    return rows


def _line(script: Script, row: Mapping[str, Any]) -> str:
    return f"{script.place(row['line'])}: {row['level']}: {row['message']} [SC{row['code']}]"


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
