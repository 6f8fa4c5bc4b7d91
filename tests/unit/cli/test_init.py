"""`minbuild init`: what it writes for each purpose, and what it asks on a terminal."""

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from minbuild.cli.main import run_command_line
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Manifest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKj8/a+xkXJkyOTWyjG2sCQrZBuXRXTNsy/VHyvEMkAC you"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key.pub").write_text(f"# mine\n{KEY}\n")
    return tmp_path


def load(path: Path) -> Manifest:
    return read_manifest(path, settings={}, components=())


def names(manifest: Manifest) -> set[str]:
    return {component.name for component in manifest.components}


def test_without_a_terminal_the_host_is_virtual(desk: Path) -> None:
    assert run_command_line(["init"]) == 0
    manifest = load(desk / "host.yaml")
    assert {"network/virtio", "network/dhcp"} <= names(manifest)
    assert manifest.kernel.package == "linux-image-cloud-amd64"


def test_options_say_the_address_and_who_may_log_in(desk: Path) -> None:
    words = ["--address", "192.0.2.10/24", "--gateway", "192.0.2.1", "--nameserver", "192.0.2.53",
             "--ssh-key", "key.pub", "--for", "rack", "rack.yaml"]  # fmt: skip
    assert run_command_line(["init", *words]) == 0
    manifest = load(desk / "rack.yaml")
    assert {"network/static", "services/ssh", "services/watchdog"} <= names(manifest)
    assert "network/dhcp" not in names(manifest)
    assert manifest.variables["address"] == "192.0.2.10/24"
    assert manifest.variables["nameservers"] == ("192.0.2.53",)
    assert manifest.variables["ssh_keys"] == (KEY,)
    assert "# services:" not in (desk / "rack.yaml").read_text(), (
        "an example of a key that is there"
    )


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--gateway", "192.0.2.1"], "--gateway is for a fixed address, and DHCP is asked"),
        (["--nameserver", "192.0.2.1"], "--nameserver is for a fixed address, and DHCP is asked"),
        (["--for", "machine", "-"], "--for machine writes the list of this machine's devices"),
        (["--json", "-"], "--json says which files were written, and stdout has the file itself"),
        (["--from", "edge", "--for", "rack"], "--from copies a manifest as it is"),
        (["--from", "edge", "--console-shell"], "--from copies a manifest as it is"),
        (["--from", "edge", "--json", "-"], "--json says which files were written"),
    ],
)
def test_an_option_without_effect_is_refused(
    words: list[str], what: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["init", *words]) == 2
    assert capsys.readouterr().err.startswith(f"error: {what}")
    assert [path.name for path in desk.iterdir()] == ["key.pub"]


def test_for_this_machine_its_devices_lie_beside_the_manifest(desk: Path) -> None:
    if not any(Path("/sys/devices").rglob("modalias")):
        pytest.fail("this machine shows no devices in /sys")
    assert run_command_line(["init", "--for", "machine", "this.yaml"]) == 0
    manifest = load(desk / "this.yaml")
    assert manifest.kernel.package == "linux-image-amd64"
    assert (desk / "this.hardware").read_text().startswith("# modaliases")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--address", "300.1.2.3/24"], "address: '300.1.2.3/24' is not an IPv4 address"),
        (["--ssh-key", "none.pub"], "cannot read the key: No such file or directory"),
        (["--from", "edge", "--for", "rack"], "--from copies a manifest as it is"),
    ],
)
def test_a_wrong_option_writes_nothing(
    words: list[str], what: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["init", *words, "x.yaml"]) in {2, 3}
    assert what in capsys.readouterr().err
    assert [path.name for path in desk.iterdir()] == ["key.pub"]


def test_a_private_key_is_not_put_into_a_manifest(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nxxxx\n")
    assert run_command_line(["init", "--ssh-key", "key"]) == 2
    assert "a private key is no line of authorized_keys" in capsys.readouterr().err


def answer(directory: Path, *lines: str) -> tuple[int, str]:
    """Run init on a terminal and give these answers; the exit code, and what was on the screen."""
    leader, follower = pty.openpty()
    argv = [sys.executable, "-m", "minbuild", "init", "asked.yaml"]
    environment = {**os.environ, "HOME": str(directory), "TERM": "dumb"}
    with subprocess.Popen(
        argv, cwd=directory, env=environment, stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        os.write(leader, "".join(f"{line}\n" for line in lines).encode())
        shown = b""
        try:
            while select.select([leader], [], [], 60)[0] and (piece := os.read(leader, 4096)):
                shown += piece
        except OSError:  # the program has ended
            pass
        code = process.wait(60)
    os.close(leader)
    return code, shown.decode()


def test_on_a_terminal_it_asks(desk: Path) -> None:
    code, shown = answer(desk, "rack", "1.2.3", "192.0.2.9/24", "192.0.2.1", "", "key.pub")
    assert code == 0, shown
    assert "What is the host for?" in shown
    assert "'1.2.3' is not an IPv4 address with its prefix" in shown
    manifest = load(desk / "asked.yaml")
    assert {"network/static", "services/ssh", "services/watchdog"} <= names(manifest)
    assert manifest.variables["address"] == "192.0.2.9/24"


def test_the_shortest_answers_are_a_virtual_machine_without_login(desk: Path) -> None:
    code, shown = answer(desk, "", "", "", "")
    assert code == 0, shown
    manifest = load(desk / "asked.yaml")
    assert "network/dhcp" in names(manifest)
    assert not {"services/ssh", "boot/console-shell"} & names(manifest)
