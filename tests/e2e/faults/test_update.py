"""The life of a host in the field: one update that works, one that does not and is taken back."""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from minbuild.lab.drives import OVMF_CODE, OVMF_VARS
from tests.e2e.small_host import minbuild
from tests.support.server import serve
from tests.unit.toolbox.real import toolbox

pytestmark = [pytest.mark.boot, pytest.mark.mirror, pytest.mark.long]
LIMIT = 1200
"""Seconds of the whole life: four starts by UEFI."""
MANIFEST = """\
minbuild: 1
name: rack
extends: [host.yaml]
vars:
  version: {version}
  update_from: "http://10.0.2.2:{port}/hosts"
  update_keys: ["{key}"]
  update_tries: 1
  health_test: "{test}"
  health_seconds: 60
boot: {{use: [update]}}
files:
  /usr/lib/minbuild/steps/99-life:
    mode: "0755"
    content: |
      #!/bin/sh
      . /usr/lib/minbuild/init
      look() {{ await good 600 && until update fetch; do nap 2; done && update apply; }}
      [ "$1" != start ] || look >/dev/console 2>&1 &
budget: {{files: 60, packed: 18 MB}}
"""


def build(directory: Path, version: int, port: int, test: str) -> None:
    key = (directory / "k.pub").read_text().splitlines()[1]
    (directory / f"{version}.yaml").write_text(
        MANIFEST.format(version=version, port=port, key=key, test=test)
    )
    lock = ("--lock", "rack.lock")
    ended = minbuild("make", f"{version}.yaml", "-o", f"build{version}", *lock, cwd=directory)
    assert ended.code == 0, ended.err


def publish(directory: Path, version: int) -> None:
    words = ("oci:web/hosts", f"build{version}", "--name", "rack", "--sign", "k.sec")
    ended = minbuild("push", *words, cwd=directory)
    assert ended.code == 0, ended.err


def start_machine(directory: Path) -> "subprocess.Popen[bytes]":
    """A machine of the lab's firmware whose disk and variables are written to."""
    box = toolbox(lab=True)
    shutil.copyfile(box.find_path(OVMF_VARS), directory / "vars.fd")
    shutil.copyfile(directory / "build7/rack.raw", directory / "disk.raw")
    words = [
        "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024",
        "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
        "-drive", f"if=pflash,format=raw,readonly=on,file={box.find_path(OVMF_CODE)}",
        "-drive", f"if=pflash,format=raw,file={directory}/vars.fd",
        "-drive", f"file={directory}/disk.raw,format=raw,if=none,id=disk",
        "-device", "virtio-blk-pci,drive=disk,bootindex=1",
        "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip
    return subprocess.Popen(
        [*box.build_argv("qemu-system-x86_64"), *words], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=box.build_environment(),
    )  # fmt: skip


class Console:
    """What a machine says, and when."""

    def __init__(self, machine: "subprocess.Popen[bytes]", log: Path) -> None:
        self.machine = machine
        self.lines: list[str] = []
        self._log = log.open("wb")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.machine.stdout is not None
        for line in self.machine.stdout:
            self.lines.append(line.decode("utf-8", "replace").strip())
            self._log.write(line)
            self._log.flush()

    def close(self) -> None:
        """End the machine."""
        self.machine.kill()
        self.machine.wait()
        self._reader.join()
        assert self.machine.stdout is not None
        self.machine.stdout.close()
        self._log.close()

    def await_lines(self, patterns: Sequence[str], deadline: float) -> None:
        """Wait for lines one after the other."""
        at = 0
        for pattern in patterns:
            while True:
                found = [
                    n for n, line in enumerate(self.lines[at:], at) if re.search(pattern, line)
                ]
                if found:
                    at = found[0] + 1
                    break
                assert self.machine.poll() is None, self.lines[-30:]
                assert time.monotonic() < deadline, (pattern, self.lines[-40:])
                time.sleep(0.2)


def test_a_host_keeps_an_update_that_works_and_takes_back_one_that_does_not(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    assert minbuild("keygen", "k", cwd=tmp_path).code == 0
    with serve(tmp_path / "web") as server:
        port = int(server.url.rpartition(":")[2])
        for version, test in ((7, "true"), (8, "true"), (9, "false")):
            build(tmp_path, version, port, test)
        publish(tmp_path, 8)
        machine = start_machine(tmp_path)
        console = Console(machine, tmp_path / "console.log")
        try:
            deadline = time.monotonic() + LIMIT
            console.await_lines(
                ["version 7 was good", "version 8 is tried", "version 8 is good"], deadline
            )
            publish(tmp_path, 9)
            console.await_lines(
                [
                    "version 9 is here",
                    "version 9 is tried",
                    "version 9 is not healthy: the test failed: false",
                    "version 8 was good",
                    "version 9 was tried and failed: the test failed: false",
                ],
                deadline,
            )
            again = "version 9 was tried and failed; a newer one is waited for"
            console.await_lines(["version 8 was good", again], deadline)
        finally:
            console.close()
    told = re.search(r"version 9 is here: (\d+) of (\d+) bytes", "\n".join(console.lines))
    assert told is not None
    assert int(told[1]) < 100_000 < int(told[2]), "what version 8 has is not fetched again"
