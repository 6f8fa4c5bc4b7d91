"""What the builder machine gets of this machine's Python: by pip's lists, and without them."""

import shutil
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

from minbuild.dib.python_bundle import list_distribution_files
from minbuild.errors import ToolError


@pytest.fixture
def unlisted(tmp_path: Path) -> Path:
    """stevedore as a Linux distribution installs it: without RECORD. Returns its metadata."""
    for path, source in list_distribution_files(distribution("stevedore")):
        if ".." not in path.parts and source.suffix != ".pyc" and path.name != "RECORD":
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, tmp_path / path)
    (tmp_path / "stevedore_other").mkdir()
    (tmp_path / "stevedore_other/mine.py").touch()
    (found,) = tmp_path.glob("stevedore-*.dist-info")
    return found


def test_modules_and_metadata_are_found_without_a_list(unlisted: Path) -> None:
    listed = {str(path) for path, _ in list_distribution_files(distribution("stevedore"))}
    found = {str(path) for path, _ in list_distribution_files(Distribution.at(unlisted))}
    assert "stevedore/extension.py" in found
    assert found == {
        path for path in listed
        if not path.startswith("..") and not path.endswith((".pyc", "/RECORD"))
    }  # fmt: skip


def test_a_distribution_that_says_nothing_of_its_files_is_refused(unlisted: Path) -> None:
    (unlisted / "top_level.txt").unlink()
    with pytest.raises(ToolError, match="stevedore is installed without a list of its files"):
        list_distribution_files(Distribution.at(unlisted))
