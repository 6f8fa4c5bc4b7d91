"""Other versions of Python, with what minbuild depends on: made once for all test runs of a user."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.cache import cache_directory

TOP = Path(__file__).parents[2]


def require_python(version: str) -> str:
    """An interpreter that can run minbuild; skips the test where there is none."""
    if sys.version_info[:2] == tuple(int(part) for part in version.split(".")):
        return sys.executable
    program = find_python(version)
    if program is None:
        pytest.skip(f"python{version} is not here")
    needs = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    key = hashlib.sha256("\n".join([program, *needs]).encode()).hexdigest()[:16]
    top = cache_directory("pythons")
    path = top / f"{version}-{key}"
    with (top / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / "ready").exists():
            shutil.rmtree(path, ignore_errors=True)
            _make_environment(program, path, needs)
    return str(path / "bin" / "python")


def find_python(version: str) -> str | None:
    """Where an interpreter of that version is: pyenv's own, not its shim, or one in PATH."""
    own = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(own[-1]) if own else shutil.which(f"python{version}")


def _make_environment(program: str, path: Path, needs: list[str]) -> None:
    pip = [str(path / "bin" / "python"), "-m", "pip", "install", "-q", *needs]
    for argv in ([program, "-m", "venv", str(path)], pip):
        result = subprocess.run(argv, capture_output=True, text=True)
        if result.returncode:
            pytest.skip(
                f"{program} cannot be given what minbuild depends on: {result.stderr[-300:]}"
            )
    (path / "ready").touch()
