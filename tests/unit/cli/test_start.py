"""Modules that are loaded before a command is known, and by each command."""

import json
import subprocess
import sys

import pytest

from minbuild.cli.commands import COMMANDS

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
OURS = {
    "minbuild", "minbuild.errors", "minbuild.paths",
    *(f"minbuild.cli{name}" for name in ("", ".commands", ".console", ".main", ".options")),
}  # fmt: skip


def loaded(argument: str) -> set[str]:
    """Names of the modules that a run with this one argument loads."""
    script = (
        "import sys; from minbuild.cli.main import run_command_line; "
        f"run_command_line({argument.split()!r}); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("argument", ["--help", "--version", "no-such-command"])
def test_no_slow_module_is_loaded_to_start(argument: str) -> None:
    assert not {name for name in loaded(argument) if name.partition(".")[0] in SLOW}


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_no_command_is_loaded_for_the_help_of_all(argument: str) -> None:
    ours = {name for name in loaded(argument) if name.split(".")[0] == "minbuild"}
    assert not ours - OURS


ALONE = """
import json, os, sys
from minbuild.cli.commands import COMMANDS
from minbuild.cli.main import run_command_line
found = {}
for name in COMMANDS:
    reader, writer = os.pipe()
    if os.fork() == 0:
        run_command_line([name, "--help"])
        os.write(writer, " ".join(one for one in sys.modules if one.startswith("minbuild.cli.")).encode())
        os._exit(0)
    os.close(writer)
    found[name] = open(reader).read().split()
print("\\n" + json.dumps(found))
"""
"""Each command's modules in a process that has loaded no other command."""


def test_a_command_loads_no_other_command() -> None:
    modules = {f"minbuild.cli.{entry.module}" for entry in COMMANDS.values()}
    argv = [sys.executable, "-c", ALONE]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found = {name: set(names) for name, names in json.loads(done.stdout.splitlines()[-1]).items()}
    own = {name: f"minbuild.cli.{entry.module}" for name, entry in COMMANDS.items()}
    assert [name for name in COMMANDS if own[name] not in found[name]] == []
    for name in ("init", "report", "check", "store", "boot"):
        assert found[name] & modules == {own[name]}
