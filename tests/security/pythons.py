"""Other versions of Python, with what minbuild depends on: made once for all test runs of a user."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.cache import cache

TOP = Path(__file__).parents[2]


def interpreter(version: str) -> str:
    """An interpreter that can run minbuild; skips the test where there is none."""
    if sys.version_info[:2] == tuple(int(part) for part in version.split(".")):
        return sys.executable
    program = found(version)
    if program is None:
        pytest.skip(f"python{version} is not here")
    needs = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    key = hashlib.sha256("\n".join([program, *needs]).encode()).hexdigest()[:16]
    top = cache("pythons")
    place = top / f"{version}-{key}"
    with (top / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            _make(program, place, needs)
    return str(place / "bin" / "python")


def found(version: str) -> str | None:
    """Where an interpreter of that version is: pyenv's own, not its shim, or one in PATH."""
    own = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(own[-1]) if own else shutil.which(f"python{version}")


def _make(program: str, place: Path, needs: list[str]) -> None:
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", *needs]
    for words in ([program, "-m", "venv", str(place)], pip):
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{program} cannot be given what minbuild depends on: {done.stderr[-300:]}")
    (place / "ready").touch()
