"""Where dib may not run, is ended in the middle, or finds no space: what is said, what is left."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minbuild.errors import ToolError
from minbuild.manifest.image_settings import DibFormat
from tests.dib.builder import Builder
from tests.dib.dib_jobs import run_dib_job
from tests.dib.elements import element
from tests.dib.folders import build_folder
from tests.e2e.small_host import Small
from tests.support.patience import PATIENCE, wait_for
from tests.support.unprivileged import explain_unavailable, unprivileged_argv

LACKING = (
    "from minbuild.dib.local_requirements import list_missing_requirements; from minbuild.manifest.image_settings import DibLayout; "
    "print(*list_missing_requirements(DibLayout.PLAIN, []), sep='\\n')"
)
CAGED = pytest.mark.skipif(
    bool(explain_unavailable()), reason=f"nobody can be bound here: {explain_unavailable()}"
)
TOP = Path(__file__).parents[2]


@pytest.fixture
def small_disk(builder: Builder, tmp_path: Path) -> Iterator[Path]:
    """A file system with almost no space."""
    path = tmp_path / "cramped"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6M", "cramped", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)
    del builder


def explain_missing(*argv: str, path: str = "") -> str:
    """What dib lacks for one who runs Python by these words."""
    result = subprocess.run(
        [*argv, sys.executable, "-c", LACKING],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path or os.environ["PATH"], "PYTHONPATH": str(TOP)},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@CAGED
def test_without_root_and_namespaces_it_is_said_what_is_lacking(tmp_path: Path) -> None:
    output = explain_missing(*unprivileged_argv())
    assert "root, or sudo" in output
    sudo = tmp_path / "sudo"
    sudo.write_text("#!/bin/sh\necho a password is required >&2\nexit 1\n", encoding="utf-8")
    sudo.chmod(0o755)
    output = explain_missing(*unprivileged_argv(), path=f"{tmp_path}:{os.environ['PATH']}")
    assert "sudo that asks no password" in output
    sudo.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    assert "sudo" not in explain_missing(
        *unprivileged_argv(), path=f"{tmp_path}:{os.environ['PATH']}"
    )


@CAGED
def test_a_root_that_may_not_mount_is_told_so() -> None:
    """As in most containers."""
    assert "the right to mount file systems" in explain_missing("unshare", "-Ur")


@pytest.mark.oracle
def test_dib_that_is_interrupted_leaves_nothing(
    builder: Builder, small: Small, elements: Path, tmp_path: Path
) -> None:
    sign = tmp_path / "reached"
    element(elements, "slow", pre_finalise__50_test=f"touch {sign}; sleep 3600")
    argv: list[str | Path] = [
        sys.executable,
        "-m",
        "tests.dib.dib_jobs",
        build_folder(small),
        tmp_path / "work",
    ]
    process = subprocess.Popen([*argv, "slow"], cwd=TOP, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: sign.exists() or process.poll() is not None)
        assert sign.exists(), process.communicate()[1]
        assert Builder(tmp_path).list_leftovers() != []
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=PATIENCE)[1]
    finally:
        process.kill()
        process.wait()
    assert "KeyboardInterrupt" in output
    assert Builder(tmp_path).list_leftovers() == []
    assert not list((tmp_path / "work" / "tmp").glob("dib_*"))
    del builder


@pytest.mark.oracle
def test_no_space_to_work_in_is_an_error(small: Small, elements: Path, small_disk: Path) -> None:
    element(
        elements, "big", post_root__50_test="head -c 20M /dev/urandom > $TMP_MOUNT_PATH/etc/big"
    )
    with pytest.raises(ToolError) as caught:
        run_dib_job(build_folder(small), small_disk / "work", "big", DibFormat.RAW)
    assert "No space left" in caught.value.what
    assert Builder(small_disk / "work").list_leftovers() == []


@pytest.mark.oracle
def test_no_space_for_the_log_is_an_error(small: Small, elements: Path, small_disk: Path) -> None:
    element(elements, "slow", post_root__50_test="true")
    folder = build_folder(small)
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    (folder / "small-dib.log").symlink_to(small_disk / "small-dib.log")
    with pytest.raises(ToolError) as caught:
        run_dib_job(folder, folder.parent / "work", "slow", DibFormat.TAR)
    assert "No space left" in caught.value.what
    assert Builder(folder.parent).list_leftovers() == []
