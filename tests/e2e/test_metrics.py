"""The host's metrics, asked for over a forwarded port as a monitoring system asks."""

import re
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from minbuild.lab.boot import boot_image
from minbuild.lab.model import (
    BootProbe,
    BootRequest,
    Firmware,
    LineSource,
    Network,
    PortForward,
    ProbePattern,
    ProbeState,
)
from minbuild.progress import SilentProgress
from tests.e2e.small_host import minbuild
from tests.support.lab import STORE, make_boot_setup
from tests.support.sample import sampled_feature
from tests.unit.components.test_metrics import read_families

pytestmark = [pytest.mark.mirror, pytest.mark.boot, pytest.mark.xdist_group("metrics")]

MANIFEST = """\
minbuild: 1
name: watched
extends: [host]
services: {use: [metrics, watchdog]}
image: {formats: [uki], compression: zstd}
budget: {files: 70, packed: 30 MB}
"""
LIMIT = 300


class Reader(threading.Thread):
    """Asks again and again until there is an answer, or the boot is over."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.url = f"http://127.0.0.1:{port}"
        self.kind = self.text = ""
        self.code = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set() and not self.text:
            try:
                with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as answer:
                    self.kind = answer.headers["Content-Type"]
                    self.text = answer.read().decode()
                urllib.request.urlopen(f"{self.url}/etc/passwd", timeout=60)
            except urllib.error.HTTPError as error:
                self.code = error.code
            except OSError:
                time.sleep(0.5)


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@sampled_feature("metrics")
def test_a_monitoring_system_reads_the_host_s_numbers(tmp_path: Path) -> None:
    (tmp_path / "watched.yaml").write_text(MANIFEST)
    ended = minbuild("make", "watched.yaml", "--store", str(STORE), cwd=tmp_path)
    efi = tmp_path / "build" / "watched" / "watched.efi"
    assert efi.exists(), ended.err
    port = find_port()
    lines = (r"metrics: port 9100 is open", r"guest tiny: ready", r"modules: loading and removing")
    probes = tuple(
        BootProbe(line, (ProbePattern(LineSource.CONSOLE, re.compile(line)),), LIMIT, "not seen")
        for line in lines
    )
    request = BootRequest(
        efi, probes, firmware=Firmware.DIRECT, network=Network.USER, timeout=LIMIT,
        forwards=(PortForward(port, 9100),),
    )  # fmt: skip
    reader = Reader(port)
    reader.start()
    result = boot_image(request, make_boot_setup(efi).toolbox, SilentProgress())
    reader.over.set()
    reader.join(120)
    assert [one.name for one in result.outcomes if one.state is not ProbeState.PASSED] == []
    assert reader.kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = read_families(reader.text)
    assert float(families["node_memory_MemTotal_bytes"][1][""]) > 256 << 20
    assert len(families["node_cpu_seconds"][1]) == 16
    assert int(families["node_network_receive_bytes"][1]['{device="host0"}']) > 0
    assert "minbuild_watchdog_timeout_seconds" in families
    assert reader.code == 404
