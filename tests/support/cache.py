"""Where the suite keeps what it fetches: directories of this user's alone, for all runs."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from minbuild.cache.store import require_private
from minbuild.errors import ToolError

VARIABLE = "MINBUILD_TESTS_CACHE"
"""The directory of this run, for its workers and what they start."""


def cache_directory(name: str) -> Path:
    """A directory that is kept between runs, made when it is not there; nobody else can write it.

    What lies there is run: a name in a directory where everybody may make files will not do.
    Raises: ToolError when another user could change it.
    """
    path = _find_top() / name
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_private(path)
    return path


def _find_top() -> Path:
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = str(_find_user_cache() or _make_temporary())
    return Path(os.environ[VARIABLE])


def _find_user_cache() -> Path | None:
    """Below the user's cache directory; None where that is missing, not the user's or read-only."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    top = Path(home) / "minbuild-tests"
    try:
        top.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_private(top)
    except (OSError, ToolError):
        return None
    return top if os.access(top, os.W_OK) else None


def _make_temporary() -> Path:
    top = Path(tempfile.mkdtemp(prefix="minbuild-tests-"))
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    return top


def make_run_directory(factory: pytest.TempPathFactory, name: str) -> Path:
    """A directory that begins empty, for all workers of one run."""
    base = factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    place.mkdir(exist_ok=True)
    return place
