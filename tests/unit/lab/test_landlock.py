"""What runs a stranger's machine sees its own files: tried with real programs."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from minbuild.lab import landlock
from minbuild.lab.accel import build_data_directory_args
from tests.support.patience import PATIENCE
from tests.unit.toolbox.real import toolbox

TRY = """
import socket, sys
def attempt(what):
    try:
        what()
    except OSError:
        return "no"
    return "yes"
secret, given, work, port = sys.argv[1:]
print(
    attempt(lambda: open(secret).read()),
    attempt(lambda: open("/etc/passwd").read()),
    attempt(lambda: open(given).read()),
    attempt(lambda: open(given, "a").write("x")),
    attempt(lambda: open(work + "/new", "w").write("x")),
    attempt(lambda: socket.create_connection(("127.0.0.1", int(port)))),
)
"""

pytestmark = pytest.mark.skipif(not landlock.is_available(), reason="this kernel has no Landlock")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("only the user's")
    return path


@pytest.mark.parametrize(("network", "connects"), [(False, "no"), (True, "yes")])
def test_only_what_is_given_is_reached(
    network: bool, connects: str, secret: Path, tmp_path: Path
) -> None:
    given, work = tmp_path / "given", tmp_path / "work"
    given.write_text("an image")
    work.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        argv = (sys.executable, "-c", TRY, str(secret), str(given), str(work), port)
        words = landlock.build_confined_argv([given], [work], argv, network=network)
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["no", "no", "yes", "no", "yes", connects]


@pytest.mark.mirror
def test_qemu_cannot_open_another_file_whatever_it_is_told(secret: Path, tmp_path: Path) -> None:
    """A backing file that no header check has seen."""
    box, work = toolbox(lab=True), tmp_path / "work"
    work.mkdir()
    secret.write_bytes(bytes(65536))
    disk = tmp_path / "disk.qcow2"
    box.run(
        "qemu-img", ["create", "-f", "qcow2", "-b", secret, "-F", "raw", disk], purpose="a disk"
    )
    argv = [*box.build_argv("qemu-system-x86_64"), "-M", "none", "-nodefaults", "-no-user-config"]
    argv += ["-display", "none", "-monitor", "stdio", *build_data_directory_args(box)]
    argv += ["-drive", f"if=none,format=qcow2,snapshot=on,file={disk}"]
    env = {**box.build_environment(), "TMPDIR": str(work)}
    for reads, code in (([disk, secret], 0), ([disk], 1)):
        words = landlock.build_confined_argv(
            [*reads, *box.directories], [work], argv, network=False
        )
        done = subprocess.run(
            words, input=b"quit\n", env=env, capture_output=True, timeout=PATIENCE
        )
        assert done.returncode == code, done.stderr
        assert (b"Permission denied" in done.stderr) is bool(code)
