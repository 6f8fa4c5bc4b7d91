"""Commands whose standard streams are closed, gone or cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE

SOUND, BROKEN = ("#!/usr/bin/sh\n", 0), ("#!/usr/bin/nothing\n", 1)


def tree(tmp_path: Path, text: str) -> Path:
    place = tmp_path / "root/usr/bin"
    place.mkdir(parents=True)
    (place / "sh").write_bytes(b"\x7fELF")
    (place / "sh").write_text("#!/usr/bin/run\n")
    (place / "run").touch()
    (place / "script").write_text(text)
    for one in place.iterdir():
        one.chmod(0o755)
    return tmp_path / "root"


def shell(command: str, *words: str, cwd: Path) -> tuple[int, str]:
    """Run a command line; the exit code of minbuild, and what else was said."""
    argv = ["sh", "-c", f'"$@" {command}', "sh", sys.executable, "-m", "minbuild", *words]
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("text", "code"), [SOUND, BROKEN], ids=["sound", "broken"])
@pytest.mark.parametrize(
    "streams",
    ["2>&-", ">&-", "<&-", "<&- >&- 2>&-", ">/dev/null 2>/dev/full", "2>&1 >&-", "2</dev/null"],
)
def test_the_verdict_is_told_by_the_exit_code(
    streams: str, text: str, code: int, tmp_path: Path
) -> None:
    root = tree(tmp_path, text)
    ended, said = shell(
        streams, "check-tree", str(root), "--store", str(tmp_path / "s"), cwd=tmp_path
    )
    assert ended == code
    assert "Traceback" not in said


@pytest.mark.parametrize("streams", [">/dev/full", "1</dev/null"])
def test_output_that_cannot_be_written_is_an_error(streams: str, tmp_path: Path) -> None:
    ended, said = shell(streams, "components", cwd=tmp_path)
    assert ended == 6
    assert said.startswith("error: cannot write the output: ")
    assert "Traceback" not in said


@pytest.mark.parametrize(("text", "code"), [SOUND, BROKEN], ids=["sound", "broken"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone_changes_no_verdict(
    stream: str, text: str, code: int, tmp_path: Path
) -> None:
    root = tree(tmp_path, text)
    reader, writer = os.pipe()
    os.close(reader)
    other = {"stdout", "stderr"} - {stream}
    argv = [
        sys.executable,
        "-m",
        "minbuild",
        "check-tree",
        str(root),
        "--store",
        str(tmp_path / "s"),
    ]
    streams: dict[str, int] = {stream: writer, other.pop(): subprocess.PIPE}
    done = subprocess.run(
        argv, timeout=PATIENCE, stdout=streams["stdout"], stderr=streams["stderr"]
    )
    os.close(writer)
    assert done.returncode == code
    assert b"Traceback" not in (done.stderr or b"") + (done.stdout or b"")


def test_a_closed_stream_is_not_the_next_file_that_is_opened(tmp_path: Path) -> None:
    """Descriptors 0 to 2 never become a file of the store or a socket."""
    code = (
        "import os, sys; from minbuild.cli.console import open_streams; open_streams();"
        "f = open('x', 'w'); print('out'); print('err', file=sys.stderr);"
        "os.write(3 if f.fileno() == 3 else 9, b''); sys.exit(f.fileno() < 3)"
    )
    done = subprocess.run(
        ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code], cwd=tmp_path
    )
    assert done.returncode == 0
    assert (tmp_path / "x").read_bytes() == b""
