"""A small archive on loopback, and diskimage-builder as it is installed beside us."""

from pathlib import Path

import pytest

from tests.dib.builder import Builder, explain_missing
from tests.e2e.conftest import small

__all__ = ["builder", "small"]


@pytest.fixture
def elements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of elements that dib finds."""
    directory = tmp_path / "own-elements"
    directory.mkdir()
    monkeypatch.setenv("ELEMENTS_PATH", str(directory))
    return directory


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    """disk-image-create in a directory of its own, where this machine lets it run."""
    lack = explain_missing()
    if lack:
        pytest.skip(f"disk-image-create cannot run here: {lack}")
    (tmp_path / "dib").mkdir()
    return Builder(tmp_path / "dib")
