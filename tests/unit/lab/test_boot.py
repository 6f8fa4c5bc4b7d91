"""Real boots of a tiny host, directly and by UEFI, with the lab's tools."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from minbuild.errors import CheckFailed, ToolError, UsageError
from minbuild.lab import kprobes
from minbuild.lab.boot import boot_image
from minbuild.lab.boot_results import make_boot_error
from minbuild.lab.interactive import boot_interactively
from minbuild.lab.kprobes import read_opened_files
from minbuild.lab.model import (
    BootProbe,
    BootRequest,
    Firmware,
    LabServer,
    LineSource,
    Network,
    ProbePattern,
    ProbeState,
)
from minbuild.lab.probes import make_default_probes
from minbuild.lab.worker.client import choose_network
from minbuild.progress import SilentProgress
from tests.support.lab import ask_by_tcp
from tests.support.patience import wait_for
from tests.unit.lab.conftest import Bench

pytestmark = [pytest.mark.mirror]


def request(bench: Bench, **more: object) -> BootRequest:
    values: dict[str, object] = {
        "image": bench.kernel,
        "initramfs": bench.initramfs,
        "probes": make_default_probes(),
        "cmdline": "console=ttyS0 panic=-1 tiny.panic",
        "timeout": 150,
    }
    return BootRequest(**{**values, **more})  # type: ignore[arg-type]


@pytest.mark.boot
def test_a_host_without_dns_is_told_apart_and_its_panic_ends_the_boot(
    bench: Bench, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    never = BootProbe(
        "never",
        (ProbePattern(LineSource.CONSOLE, re.compile("no such line")),),
        140,
        "it is not there",
    )
    user = choose_network(Network.AUTO, bench.tools).name == Network.USER
    door = ask_by_tcp("door", 7070, "^tiny", limit=140)
    cmdline = f"console=ttyS0 panic=-1 tiny.panic{'' if user else ' tiny.serve'}"
    probes = (*make_default_probes(), never, door)
    boot_request = request(
        bench, disabled_servers=frozenset({LabServer.DNS}), log=log, probes=probes, cmdline=cmdline, trace=True,
        ports=True,
    )  # fmt: skip
    result = boot_image(boot_request, bench.tools, SilentProgress())
    states = {outcome.name: outcome.state for outcome in result.outcomes}
    failed = {name for name, state in states.items() if state is ProbeState.FAILED}
    assert states["door"] is (ProbeState.SKIPPED if user else ProbeState.PASSED)
    assert failed == ({"never"} if user else {"dns", "never"})
    assert states["dns"] is (ProbeState.SKIPPED if user else ProbeState.FAILED)
    inside = [one for one in result.outcomes if one.name != "door"]
    assert all(one.uptime for one in inside if one.state is ProbeState.PASSED)
    assert result.end_reason == "kernel panic: sysrq triggered crash"
    if not user:
        problem = make_boot_error(result)
        assert isinstance(problem, CheckFailed)
        assert "dns: " in problem.what
        assert "FAILED: no address for probe.test" in problem.what
        assert any(line.source is LineSource.DNSMASQ for line in result.lines)
    assert "minbuild: init: ready" in log.read_text(encoding="utf-8")
    ports = kprobes.read_open_ports(result.lines)
    assert ports is not None
    listening = {(one.number, one.protocol, one.process) for one in ports}
    assert user or (7070, "tcp", "nc") in listening
    traced = read_opened_files(result.lines)
    # a script and its interpreter, a module; and nothing that was only unpacked
    assert {"/init", "/bin/sh", "/modules/virtio_net.ko"} <= traced.opened
    assert "/lease.sh" in traced.opened
    assert not {"bin/cat", "modules/failover.ko"} & traced.opened
    assert all(path.startswith("/") and times for path, times in traced.missing)


@pytest.mark.boot
def test_a_console_that_is_silent_for_too_long_ends_the_boot(bench: Bench) -> None:
    sign = ProbePattern(LineSource.CONSOLE, re.compile("no such line"))
    never = BootProbe("never", (sign,), 140, "it is not there")
    quiet = request(bench, probes=(never,), cmdline="console=ttyS0 panic=-1", silence=20)
    result = boot_image(quiet, bench.tools, SilentProgress())
    assert re.fullmatch(
        r"\d+ s passed with nothing on the console without: never", result.end_reason
    )
    assert any("minbuild: init: ready" in line.text for line in result.lines)


@pytest.mark.boot
def test_the_console_is_given_to_a_terminal(bench: Bench) -> None:
    user, lab = pty.openpty()
    output = bytearray()

    def person() -> None:
        typed = False
        with contextlib.suppress(OSError):
            while data := os.read(user, 4096):
                output.extend(data)
                if not typed and b"type something" in output:
                    typed = True
                    os.write(user, b"words\r")
                if b"read words" in output or b"panic" in output:
                    os.write(user, b"\x01x")

    thread = threading.Thread(target=person, daemon=True)
    thread.start()
    boot_request = request(bench, cmdline="console=ttyS0", network=Network.USER)
    boot_interactively(boot_request, bench.tools, SilentProgress(), input_fd=lab, output_fd=lab)
    os.close(lab)
    thread.join()
    os.close(user)
    assert b"10.0.2.100:7 answered" in output
    assert b"read words" in output


def test_an_image_that_is_not_there_is_named(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        boot_image(request(bench, image=tmp_path / "gone.raw"), bench.tools, SilentProgress())
    assert caught.value.where == str(tmp_path / "gone.raw")


def test_a_kernel_that_is_none_is_qemu_s_own_word(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"no kernel" * 1000)
    with pytest.raises(ToolError, match="QEMU exited with status 1"):
        boot_image(request(bench, image=tmp_path / "kernel"), bench.tools, SilentProgress())


def test_a_disk_cannot_be_booted_directly(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "host.raw").write_bytes(bytes(4096))
    boot_request = request(
        bench, image=tmp_path / "host.raw", initramfs=None, firmware=Firmware.DIRECT, cmdline=""
    )
    with pytest.raises(UsageError, match="is a disk image"):
        boot_image(boot_request, bench.tools, SilentProgress())


@pytest.mark.parametrize("name", ["host.raw", "host.efi"])
def test_what_has_no_boot_loader_is_not_given_to_a_bios(
    name: str, bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes((b"MZ" if name.endswith("efi") else b"") + bytes(4096))
    boot_request = request(
        bench, image=tmp_path / name, initramfs=None, firmware=Firmware.BIOS, cmdline=""
    )
    with pytest.raises(UsageError, match="boot loader"):
        boot_image(boot_request, bench.tools, SilentProgress())


def test_a_damaged_uki_is_an_error(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "host.efi").write_bytes(b"MZ" + bytes(100))
    with pytest.raises(ToolError, match="not a UKI"):
        boot_image(request(bench, image=tmp_path / "host.efi", initramfs=None, cmdline=""),
             bench.tools, SilentProgress())  # fmt: skip


def test_the_chosen_network_says_why(bench: Bench) -> None:
    assert choose_network(Network.USER, bench.tools).reason == "requested"
    chosen = choose_network(Network.AUTO, bench.tools)
    assert chosen.name in {Network.USER, Network.NAMESPACE}
    assert chosen.reason


OWNER = """
import sys
from minbuild.lab.worker.client import WorkerClient
from minbuild.lab.model import Network
from minbuild.lab.worker.protocol import WorkerPlan

words = ("/bin/sh", "-c", "echo $$; exec sleep 600")
work = sys.argv[1]
plan = WorkerPlan(work, True, {"PATH": "/usr/bin:/bin"}, words, (), (), 0, "127.0.0.1", False)
with WorkerClient(Network.USER, plan) as client:
    while True:
        for tag, block in client.receive(1):
            print(tag.name, block.decode().strip(), flush=True)
"""


def test_nothing_is_left_when_the_owner_is_killed(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(work)], stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        line = ""
        while not line.startswith("CONSOLE"):
            line = owner.stdout.readline()
        inner = int(line.split()[1])
        os.kill(inner, 0)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        owner.stdout.close()
    wait_for(lambda: not Path(f"/proc/{inner}").exists() and not work.exists())
