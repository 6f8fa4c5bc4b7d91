"""The guest that the lab makes."""

import subprocess
from pathlib import Path

from minbuild.lab.data import Guest, guest_conf, lines
from minbuild.lab.guest import READY, initramfs, program


def test_the_guest_s_program_runs_and_says_that_it_is_up(tmp_path: Path) -> None:
    path = tmp_path / "init"
    path.write_bytes(program(b"hello\n"))
    path.chmod(0o755)
    with subprocess.Popen([path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"hello\n"
        assert process.poll() is None
        process.kill()


def test_the_guest_s_initramfs_is_aligned_and_always_the_same() -> None:
    data = initramfs()
    assert data == initramfs()
    assert len(data) % 4 == 0
    assert READY.encode() in data


def test_the_guest_s_settings_name_its_ready_line() -> None:
    assert f"ready={READY}\n" in lines(guest_conf(Guest(Path("vmlinuz"), cpus=16)))
    assert "cpus=16\n" in lines(guest_conf(Guest(Path("vmlinuz"), cpus=16)))
