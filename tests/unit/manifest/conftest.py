"""A directory with documents in it, loaded as a user would."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from minbuild.errors import ManifestError
from minbuild.manifest.input_files import Trust
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Manifest

HEAD = "minbuild: 1\nkernel: {package: linux-image-cloud-amd64}\n"
"""Two lines that every manifest needs."""


class Desk:
    """Writes files into the current directory and loads host.yaml from there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trust = Trust()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def component(self, name: str, text: str = "") -> None:
        self.write({f"components/{name}.yaml": f"summary: a part\n{text}"})

    def load(self, text: str = "", /, **settings: str) -> Manifest:
        """Load HEAD and `text` as host.yaml."""
        self.write({"host.yaml": HEAD + text})
        return read_manifest(Path("host.yaml"), settings=settings, components=[], trust=self.trust)

    def load_file(self, name: str) -> Manifest:
        """Load a file that is there already."""
        return read_manifest(Path(name), settings={}, components=[], trust=self.trust)

    def problems(self, text: str = "", /, **settings: str) -> list[tuple[str, str, str]]:
        """Where, what and fix of all that is wrong with HEAD and `text`."""
        self.write({"host.yaml": HEAD + text})
        return self.refused("host.yaml", **settings)

    def refused(self, name: str, /, **settings: str) -> list[tuple[str, str, str]]:
        """Where, what and fix of all that is wrong with a file that is there already."""
        with pytest.raises(ManifestError) as raised:
            read_manifest(Path(name), settings=settings, components=[], trust=self.trust)
        error = raised.value
        return [(one.where, one.what, one.fix) for one in (error, *error.also)]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path)
