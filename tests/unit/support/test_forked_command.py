"""A forked command is what a shell would have started: its directory, environment, umask, streams, code."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.small_host import minbuild
from tests.support.forked_command import CommandServer, command_server


def test_it_works_in_its_directory_under_the_umask_of_its_caller(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        assert minbuild("init", "mine.yaml", cwd=tmp_path).code == 0
    finally:
        os.umask(before)
    assert (tmp_path / "mine.yaml").stat().st_mode & 0o777 == 0o600


def test_its_environment_is_its_own(tmp_path: Path) -> None:
    words = ("store", "size", "--json")
    before = dict(os.environ)
    for name in ("one", "two"):
        store = tmp_path / name
        assert minbuild(*words, cwd=tmp_path, env={"MINBUILD_STORE": str(store)}).code == 0
        assert store.is_dir()
    assert dict(os.environ) == before


def test_what_it_says_and_how_it_ends_come_back(tmp_path: Path) -> None:
    done = minbuild("no-such-command", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: there is no command no-such-command")
    assert minbuild("--version", cwd=tmp_path).out.startswith("minbuild, version ")
    assert command_server().seconds > 0


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "LC_ALL", "LANG", "LD_PRELOAD"])
def test_what_python_reads_when_it_starts_needs_one_that_starts(name: str) -> None:
    """Whether a command is given it, or stands in an environment that has changed, or lacks it."""
    server = command_server()
    usual = {**os.environ, **server.started_with}
    assert server.can_run_with({**usual, f"MINBUILD_{name}": "1"})
    assert not server.can_run_with({**usual, name: "another"})
    without = {one: value for one, value in usual.items() if one != name}
    assert server.can_run_with(without) is (name not in server.started_with)


def test_a_hash_seed_of_the_test_s_own_environment_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not among the words of the call, and the server was started without it."""
    command_server()
    monkeypatch.setenv("PYTHONHASHSEED", "no number")
    assert "PYTHONHASHSEED" in minbuild("--version", cwd=tmp_path).err


def test_a_server_that_ends_without_an_answer_is_named() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = "import socket; socket.socket(fileno=0).recv(1); raise SystemExit(3)"
    with ours, subprocess.Popen([sys.executable, "-c", code], stdin=theirs.fileno()) as process:
        theirs.close()
        server = CommandServer(ours, process, {})
        with pytest.raises(AssertionError, match="the server of commands is gone: 3"):
            server.run(["--version"], Path.cwd(), {})
