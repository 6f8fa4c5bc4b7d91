"""A forked command is what a shell would have started: its directory, environment, umask, streams, code."""

import os
from pathlib import Path

import pytest

from tests.e2e.small_host import minbuild
from tests.support.forked_command import command_server, is_decided_at_start


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
    assert is_decided_at_start(name)
    assert not is_decided_at_start(f"MINBUILD_{name}")
