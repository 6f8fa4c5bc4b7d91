"""What the suite itself keeps and runs lies where no other user can write."""

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from minbuild.errors import ToolError
from tests.support.cache import VARIABLE, cache_directory

TOP = Path(__file__).parents[2]
KNOWN = re.compile(r"gettempdir\(\)\)? */")
"""A name that is known before, in a directory where everybody may make files."""


def test_it_is_the_user_s_alone() -> None:
    status = cache_directory("own").stat()
    assert stat.S_IMODE(status.st_mode) & 0o022 == 0


def test_one_that_others_may_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab").chmod(0o777)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ToolError, match="written by other users"):
        cache_directory("lab")


def test_without_a_home_of_ones_own_it_lasts_for_one_run(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o777)
    program = "from tests.support.cache import cache_directory; print(cache_directory('x'))"
    env = {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-c", program]
    output = subprocess.run(argv, cwd=TOP, env=env, capture_output=True, text=True, check=True)
    path = Path(output.stdout.strip())
    assert path.is_relative_to(tmp_path)
    assert not path.is_relative_to(tmp_path / "home")
    assert not path.exists()


def test_no_test_runs_what_lies_in_a_shared_directory() -> None:
    result = [
        f"{path.relative_to(TOP)}:{number}"
        for path in sorted((TOP / "tests").rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if "gettempdir" in line and KNOWN.search(line)
    ]
    assert result == []
