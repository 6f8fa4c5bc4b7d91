import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minbuild.errors import ToolError
from minbuild.image.outputs import PREFIX, open_outputs


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_outputs_appear_with_their_sums(tmp_path: Path) -> None:
    with open_outputs(tmp_path / "build/host") as outputs:
        outputs.place("host.efi").write_bytes(b"image")
        (outputs.work / "scratch").write_bytes(b"x")
        made = outputs.publish()
    directory = tmp_path / "build/host"
    assert left(directory) == ["SHA256SUMS", "host.efi"]
    assert [path.name for path in made] == ["host.efi", "SHA256SUMS"]
    sums = (directory / "SHA256SUMS").read_text()
    assert sums == f"{hashlib.sha256(b'image').hexdigest()}  host.efi\n"
    assert (directory / "host.efi").stat().st_mode & 0o777 == 0o644


def test_a_failed_build_leaves_the_former_outputs(tmp_path: Path) -> None:
    (tmp_path / "host.efi").write_bytes(b"former")
    with contextlib.suppress(KeyboardInterrupt), open_outputs(tmp_path) as outputs:
        outputs.place("host.efi").write_bytes(b"half")
        raise KeyboardInterrupt
    assert left(tmp_path) == ["host.efi"]
    assert (tmp_path / "host.efi").read_bytes() == b"former"


def test_other_files_in_the_directory_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with open_outputs(tmp_path) as outputs:
        outputs.place("host.efi").write_bytes(b"image")
        outputs.publish()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_link_to_a_directory_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with open_outputs(tmp_path / "link") as outputs:
        outputs.place("host.efi").write_bytes(b"image")
        outputs.publish()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/host.efi").read_bytes() == b"image"


def test_a_place_that_is_no_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ToolError, match="cannot write") as error, open_outputs(tmp_path / "file"):
        pass
    assert "file" in error.value.where


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_rights_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(ToolError, match="cannot write"), open_outputs(tmp_path / "build"):
        pass


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from minbuild.image.outputs import open_outputs
with open_outputs(Path({str(tmp_path)!r})) as outputs:
    outputs.place("host.efi").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", script])
    assert ended.returncode == -signal.SIGKILL
    assert [name.startswith(PREFIX) for name in left(tmp_path)] == [True]
    with open_outputs(tmp_path) as outputs:
        outputs.place("host.efi").write_bytes(b"whole")
        outputs.publish()
    assert left(tmp_path) == ["SHA256SUMS", "host.efi"]


def test_a_build_that_is_at_work_is_left_alone(tmp_path: Path) -> None:
    with open_outputs(tmp_path) as one:
        one.place("a").write_bytes(b"1")
        with open_outputs(tmp_path) as two:
            two.place("b").write_bytes(b"2")
            two.publish()
        one.publish()
    assert left(tmp_path) == ["SHA256SUMS", "a", "b"]


def test_the_directory_is_not_kept_locked(tmp_path: Path) -> None:
    with open_outputs(tmp_path):
        handle = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)
