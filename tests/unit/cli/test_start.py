"""What the command loads before it knows what it is asked for."""

import subprocess
import sys

SLOW = {
    "concurrent",
    "debian",
    "elftools",
    "http",
    "jinja2",
    "logging",
    "multiprocessing",
    "pysequoia",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tomllib",
    "urllib3",
    "xml",
    "yaml",
    "zstandard",
}
OURS = {"minbuild", "minbuild.cli", "minbuild.errors", "minbuild.paths"}


def loaded() -> set[str]:
    """Names of the modules that importing the command loads."""
    script = "import sys, minbuild.cli.main; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_no_slow_module_is_loaded_to_start() -> None:
    assert not {name for name in loaded() if name.partition(".")[0] in SLOW}


def test_of_our_own_rooms_only_the_terminals_is_loaded_to_start() -> None:
    ours = {name for name in loaded() if name.split(".")[0] == "minbuild"}
    assert not {name for name in ours - OURS if not name.startswith("minbuild.cli.")}
