"""The guest that the lab makes."""

import os
import platform
import subprocess
from pathlib import Path

import pytest

from minbuild.lab.data_disk import LabGuest, format_conf, make_guest_conf
from minbuild.lab.guest_images import (
    LINUX_READY,
    make_counting_program,
    make_guest_initramfs,
    make_init_program,
)


def test_the_guest_s_program_runs_and_says_that_it_is_up(tmp_path: Path) -> None:
    path = tmp_path / "init"
    path.write_bytes(make_init_program(b"hello\n"))
    path.chmod(0o755)
    with subprocess.Popen([path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"hello\n"
        assert process.poll() is None
        process.kill()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="a program for x86-64")
@pytest.mark.parametrize("allowed", [1, 2])
def test_a_guest_of_several_processors_counts_them(tmp_path: Path, allowed: int) -> None:
    mine = sorted(os.sched_getaffinity(0))[:allowed]
    path = tmp_path / "init"
    path.write_bytes(make_counting_program("there are ", " of them\n"))
    path.chmod(0o755)
    argv = ["taskset", "-c", ",".join(map(str, mine)), str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"there are {len(mine):02} of them\n".encode()
        process.kill()


def test_the_guest_s_initramfs_is_aligned_and_always_the_same() -> None:
    data = make_guest_initramfs()
    assert data == make_guest_initramfs()
    assert len(data) % 4 == 0
    assert LINUX_READY.encode() in data


def test_the_guest_s_settings_name_its_ready_line() -> None:
    assert f"ready={LINUX_READY}\n" in format_conf(make_guest_conf(LabGuest(Path("vmlinuz"))))
    wide = format_conf(make_guest_conf(LabGuest(Path("vmlinuz"), cpus=16)))
    assert f"ready={LINUX_READY}, 16 processors\n" in wide
    assert "cpus=16\n" in format_conf(make_guest_conf(LabGuest(Path("vmlinuz"), cpus=16)))
