"""The host's metrics: what /proc and /sys say, in a form that every reader of OpenMetrics takes."""

import re
import shutil
from pathlib import Path

import pytest

from minbuild.manifest.loader import read_manifest
from tests.unit.components.conftest import run

pytestmark = pytest.mark.mirror

MANIFEST = """\
minbuild: 1
name: one
extends: [host]
services: {use: [metrics]}
budget: {files: 90, packed: 30 MB}
"""
PROC = {
    "stat": "cpu  9 9 9 9\ncpu0 100 0 250 3600123456 7 0 1 2 0 0\ncpu1 1 2 3 4 5 6 7 8 0 0\nbtime 1796000000\n",
    "meminfo": "MemTotal:        8000000 kB\nMemFree: 1 kB\nHugePages_Total:       4\nSlab: 9 kB\n",
    "loadavg": "0.25 0.50 1.00 1/99 1234\n",
    "diskstats": " 259 0 nvme0n1 10 0 9000000000 5 20 0 16 5 0 1500 9 0 0 0 0\n   7 0 loop0 1 1 1 1 1 1 1 1 1 1 1\n",
    "mounts": "/dev/nvme0n1p2 /data ext4 rw 0 0\n",
    "mdstat": "Personalities : [raid1]\nmd0 : active raid1 sda1[0]\n      1024 blocks super 1.2 [2/1] [U_]\n\n",
}
SYS = {
    "class/net/eth0/operstate": "up",
    "class/net/eth0/statistics/rx_bytes": "5000000000",
    "class/net/eth0/statistics/tx_errors": "3",
    "class/hwmon/hwmon0/name": "k10temp",
    "class/hwmon/hwmon0/temp1_input": "41500",
    "class/watchdog/watchdog0/timeout": "60",
    "class/watchdog/watchdog0/state": "active",
    "fs/cgroup/guest-web/cgroup.procs": "71",
    "fs/cgroup/guest-web/memory.current": "134217728",
    "fs/cgroup/guest-web/cpu.stat": "usage_usec 2500000\nuser_usec 1",
    "fs/cgroup/guest-off/cgroup.procs": "",
}


@pytest.fixture(autouse=True)
def shell(busybox: Path, tmp_path: Path) -> None:
    """BusyBox alone: another shell's `read` knows no time."""
    shutil.copytree(busybox, tmp_path / "bin", symlinks=True)


def ask(directory: Path, request: str) -> str:
    """What the script answers to a request."""
    path = directory / "one.yaml"
    path.write_text(MANIFEST)
    manifest = read_manifest(path, settings={}, components=())
    (text,) = (
        file.content.decode()
        for component in manifest.components
        for file in component.files
        if file.path.endswith("65-metrics")
    )
    for place in ("/proc/", "/sys/"):
        text = text.replace(place, f"{directory}{place}")
    for base, files in (("proc", PROC), ("sys", SYS)):
        for name, content in files.items():
            file = directory / base / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content + ("" if content.endswith("\n") or not content else "\n"))
    (directory / "metrics").write_text(text.replace('"$place")', f'"{directory}")'))
    (directory / "request").write_text(request)
    return run(directory, ". ./metrics <request")


def read_families(text: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Families by name: kind, and value by the rest of each sample's line. Source: OpenMetrics 1.0, "ABNF"."""
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""]
    families: dict[str, tuple[str, dict[str, str]]] = {}
    name = ""
    for line in lines[:-2]:
        if found := re.fullmatch(r"# TYPE ([a-zA-Z_][a-zA-Z0-9_]*) (gauge|counter)", line):
            name = found[1]
            assert name not in families
            families[name] = found[2], {}
            continue
        label = r'[a-z]+="[^"\\\n]*"'
        found = re.fullmatch(rf"([a-zA-Z0-9_]+)((?:\{{{label}(?:,{label})*\}})?) (-?[0-9.]+)", line)
        assert found, line
        kind, samples = families[name]
        assert found[1] == (f"{name}_total" if kind == "counter" else name)
        assert found[2] not in samples
        samples[found[2]] = found[3]
    return families


def test_every_number_has_its_family_once(tmp_path: Path) -> None:
    head, _, body = ask(tmp_path, "GET /metrics HTTP/1.1\nHost: x\n\n").partition("\n\n")
    assert head.splitlines()[0] == "HTTP/1.0 200 OK"
    assert "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8" in head
    families = read_families(body)
    expected = {
        "node_cpu_seconds": ("counter", '{cpu="0",mode="idle"}', "36001234.56"),
        "node_boot_time_seconds": ("gauge", "", "1796000000"),
        "node_memory_MemTotal_bytes": ("gauge", "", "8192000000"),
        "node_memory_HugePages_Total": ("gauge", "", "4"),
        "node_load5": ("gauge", "", "0.50"),
        "node_disk_read_bytes": ("counter", '{device="nvme0n1"}', "4608000000000"),
        "node_network_up": ("gauge", '{device="eth0"}', "1"),
        "node_network_receive_bytes": ("counter", '{device="eth0"}', "5000000000"),
        "node_network_transmit_errs": ("counter", '{device="eth0"}', "3"),
        "node_hwmon_temp_celsius": ("gauge", '{chip="k10temp",sensor="temp1"}', "41.500"),
        "minbuild_watchdog_active": ("gauge", '{device="watchdog0"}', "1"),
        "minbuild_guest_running": ("gauge", '{guest="web"}', "1"),
        "minbuild_guest_memory_bytes": ("gauge", '{guest="web"}', "134217728"),
        "minbuild_guest_cpu_seconds": ("counter", '{guest="web"}', "2.500000"),
        "node_md_disks_required": ("gauge", '{device="md0"}', "2"),
        "minbuild_md_disks_active": ("gauge", '{device="md0"}', "1"),
    }
    for name, (kind, labels, value) in expected.items():
        assert families[name][0] == kind, name
        assert families[name][1][labels] == value, name
    assert families["minbuild_guest_running"][1]['{guest="off"}'] == "0"
    assert len(families["node_cpu_seconds"][1]) == 16
    assert '{device="loop0"}' not in families["node_disk_read_bytes"][1]
    assert int(families["node_filesystem_size_bytes"][1]['{mountpoint="/data"}']) > 0


@pytest.mark.parametrize(
    "request_", ["GET / HTTP/1.1\n\n", "GET /../etc/passwd HTTP/1.0\n\n", "POST /metrics HTTP/1.0\n\n",
                 "$(id)\n\n", "GET `id` x\n\n"]
)  # fmt: skip
def test_anything_else_is_not_there(tmp_path: Path, request_: str) -> None:
    assert ask(tmp_path, request_).startswith("HTTP/1.0 404 Not Found")


def test_a_question_of_a_query_is_the_same(tmp_path: Path) -> None:
    assert ask(tmp_path, "GET /metrics?x=1 HTTP/1.0\n\n").endswith("# EOF\n")
