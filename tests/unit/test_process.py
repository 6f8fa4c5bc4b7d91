"""The door to other programs."""

import os
from pathlib import Path

import pytest

from minbuild.errors import ToolError
from minbuild.process import run_program, start_program, stop_program
from tests.support.patience import wait_for


def test_output_comes_back_and_input_goes_in() -> None:
    assert run_program(["cat"], purpose="copying", stdin=b"through") == b"through"


def test_a_failure_shows_the_last_lines_and_a_command_to_paste() -> None:
    script = "echo first; echo 'it is broken' >&2; exit 3"
    with pytest.raises(ToolError) as caught:
        run_program(["sh", "-c", script], purpose="trying")
    assert "sh failed with exit code 3 while trying" in caught.value.what
    assert "it is broken" in caught.value.what
    assert caught.value.where.startswith("sh -c 'echo first")


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"cannot start .*no-such-tool for measuring"):
        run_program([tmp_path / "no-such-tool"], purpose="measuring")


def test_a_program_ended_by_a_signal_says_so() -> None:
    with pytest.raises(ToolError, match="was ended by signal 9"):
        run_program(["sh", "-c", "kill -9 $$"], purpose="dying")


def test_the_environment_of_the_caller_does_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "yes")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    seen = run_program(["env"], purpose="looking").decode().splitlines()
    assert "LC_ALL=C.UTF-8" in seen
    assert not [line for line in seen if line.startswith("LEAK")]


def test_stopping_a_program_ends_its_children_too() -> None:
    process = start_program(["sh", "-c", "sleep 60 & echo $!; wait"], purpose="waiting")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    stop_program(process)
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    wait_for(lambda: not _alive(child))
    assert process.returncode is not None


def _alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_group_is_its_own() -> None:
    with start_program(["sleep", "30"], purpose="waiting") as process:
        assert os.getpgid(process.pid) == process.pid
        stop_program(process)
