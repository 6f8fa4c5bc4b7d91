"""Our elements as files: what dib-lint and dib's own reader say of them."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from minbuild.data import data_directory
from tests.e2e.small_host import minbuild

ELEMENTS = sorted(path for path in data_directory("elements").iterdir() if path.is_dir())


def test_the_command_prints_where_the_elements_are(tmp_path: Path) -> None:
    ended = minbuild("elements", cwd=tmp_path)
    assert ended.code == 0
    assert (Path(ended.out.strip()) / "minbuild-root" / "root.d").is_dir()


@pytest.mark.oracle
@pytest.mark.skipif(not all(map(shutil.which, ("bash", "git", "file"))), reason="for dib-lint")
def test_dib_lint_passes(tmp_path: Path) -> None:
    scripts = Path(sysconfig.get_path("scripts"))
    (tmp_path / "python").symlink_to(sys.executable)
    result = subprocess.run(
        ["bash", scripts / "dib-lint"],
        cwd=tmp_path,
        env={
            "PATH": f"{scripts}:{os.environ['PATH']}",
            "ELEMENTS_DIR": str(data_directory("elements")),
            "LIB_DIR": str(data_directory("elements")),
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "PASS" in result.stdout


@pytest.mark.parametrize("element", ELEMENTS, ids=lambda path: path.name)
def test_each_element_is_documented_and_ordered(element: Path) -> None:
    readme = (element / "README.rst").read_text(encoding="utf-8")
    assert readme.splitlines()[1] == element.name
    for script in element.glob("*.d/*"):
        assert 10 <= int(script.name[:2]) <= 89
        assert "DIB_" in script.read_text(encoding="utf-8")
