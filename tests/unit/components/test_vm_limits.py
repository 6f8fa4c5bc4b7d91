"""Keys of guest.conf that give a guest its share of the machine: processors, time, disks, pages, balloon."""

import os
from pathlib import Path

import pytest

from tests.unit.components.conftest import run
from tests.unit.components.test_parts import part
from tests.unit.components.test_vm import guest, runs, vm

CONTROLLERS = "cpuset cpu io memory pids"


@pytest.fixture
def web(host: Path) -> Path:
    """A host of four processors, a memory node and 48 free pages of 2 MiB; its guest `web`."""
    machine = host / "machine"
    for path, text in {
        "cgroup/cgroup.controllers": CONTROLLERS,
        "cpu/present": "0-3",
        "node/possible": "0",
        "hugepages-2048kB/free_hugepages": "48",
    }.items():
        (machine / path).parent.mkdir(parents=True, exist_ok=True)
        (machine / path).write_text(f"{text}\n")
    text = (host / "vm").read_text().replace("LIMITS=/sys/fs/cgroup", f"LIMITS={machine}/cgroup")
    for place in ("devices/system/cpu", "devices/system/node", "kernel/mm/hugepages"):
        base = machine if place.endswith("hugepages") else machine / place.rpartition("/")[2]
        text = text.replace(f"=/sys/{place}/", f"={base}/")
    (host / "vm").write_text(text.replace("[ -c /dev/kvm ]", "true"))
    directory = guest(host, "web", "kernel=k")
    (directory / "k").touch()
    return directory


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("pin=0-", "pin=0- is no list such as 0-3,8"),
        ("pin=0,,1", "pin=0,,1 is no list such as 0-3,8"),
        ("pin=", "pin= is no list such as 0-3,8"),
        ("pin=1-2-3", "pin=1-2-3 is no list such as 0-3,8"),
        ("pin=01", "pin=01 is no list such as 0-3,8"),
        ("pin=0-4", "pin=0-4: this host has 0 to 3"),
        ("pin=3-2", "pin=3-2: this host has 0 to 3"),
        ("nodes=1", "nodes=1: this host has 0 to 0"),
        ("cpu-limit=0", "cpu-limit=0 is not in 1..6400"),
        ("cpu-weight=10001", "cpu-weight=10001 is not in 1..10000"),
        ("disk-rate=fast", "disk-rate=fast is not a number"),
        ("disk-ops=0", "disk-ops=0 is not in 1..999999"),
        ("huge-pages=2M", "huge-pages=2M is neither yes nor no"),
        ("balloon=on", "balloon=on is neither yes nor no"),
    ],
)
def test_a_share_that_cannot_be_given_is_told_with_its_line(
    host: Path, web: Path, line: str, told: str
) -> None:
    (web / "guest.conf").write_text(f"kernel=k\n{line}\n")
    assert vm(host, "status", "web").stderr == f"vm: error: {web}/guest.conf:2: {told}\n"


@pytest.mark.parametrize("line", ["pin=0", "nodes=0", "cpu-limit=50", "cpu-weight=9", "disk-ops=9"])
def test_a_kernel_without_the_controller_is_told(host: Path, web: Path, line: str) -> None:
    (host / "machine/cgroup/cgroup.controllers").write_text("memory pids\n")
    (web / "guest.conf").write_text(f"kernel=k\n{line}\n")
    assert "this host's kernel has no cgroup controller " in vm(host, "status", "web").stderr


def test_all_shares_at_once_are_taken(host: Path, web: Path) -> None:
    lines = (
        "pin=0,2-3",
        "nodes=0",
        "cpu-limit=150",
        "cpu-weight=200",
        "disk-rate=50",
        "disk-ops=9",
    )
    (web / "guest.conf").write_text(
        "\n".join(("kernel=k", "huge-pages=yes", "balloon=yes", *lines))
    )
    done = vm(host, "status", "web")
    assert (done.returncode, done.stderr) == (0, "")


def test_huge_pages_are_whole_and_there_are_enough(host: Path, web: Path) -> None:
    (web / "guest.conf").write_text("kernel=k\nmemory=97\nhuge-pages=yes\n")
    assert "memory=97 is no whole pages of 2 MiB" in vm(host, "start", "web").stderr
    (web / "guest.conf").write_text("kernel=k\nmemory=98\nhuge-pages=yes\n")
    assert vm(host, "start", "web").stderr == (
        "vm: error: web needs 98 MiB of huge pages, of 96 MiB that are free (huge_pages of the image)\n"
    )


def test_memory_is_taken_from_a_guest_with_a_balloon_alone(host: Path, web: Path) -> None:
    runs(host, "web", os.getpid())
    assert "web has no balloon" in vm(host, "memory", "web", "64").stderr
    (web / "guest.conf").write_text("kernel=k\nballoon=yes\n")
    assert "not in 8..256" in vm(host, "memory", "web", "257").stderr
    assert "is not a number" in vm(host, "memory", "web", "much").stderr
    assert "did not take the order" in vm(host, "memory", "web", "64").stderr
    os.mkfifo(web / "control.in")
    assert "did not take the order" in vm(host, "memory", "web", "64").stderr
    pipe = os.open(web / "control.in", os.O_RDWR | os.O_NONBLOCK)
    try:
        assert vm(host, "memory", "web", "64").returncode == 0
        said = os.read(pipe, 4096).decode()
    finally:
        os.close(pipe)
    assert said == (
        '{"execute":"qmp_capabilities"}{"execute":"balloon","arguments":{"value":67108864}}\n'
    )


@pytest.mark.usefixtures("shell")
def test_a_share_is_written_as_the_kernel_s_cgroup_takes_it(tmp_path: Path) -> None:
    """Source: Linux, Documentation/admin-guide/cgroup-v2.rst."""
    (tmp_path / "disk.raw").touch()
    (tmp_path / "cgroup.procs").touch()
    script = part(tmp_path, "hypervisor/guests.limits.sh")
    script += f"""
LIMITS={tmp_path} name=web memory=256 cpus=2 disk_count=1
disks=' file={tmp_path}/disk.raw,format=raw,readonly=off file={tmp_path}/disk.raw,format=raw,readonly=on'
forget_own_keys
limit
cat {tmp_path}/guest-web/memory.max {tmp_path}/guest-web/pids.max
ls {tmp_path}/guest-web
pin=0-1 nodes=0 cpu_limit=150 cpu_weight=50 disk_rate=2 disk_ops=30
limit
"""
    assert run(tmp_path, script).split() == [
        str((256 + 256 + 40) << 20),
        "162",
        "memory.max",
        "pids.max",
    ]
    device = (tmp_path / "disk.raw").stat().st_dev
    whole = f"{os.major(device)}:{os.minor(device)}"
    partition = Path(f"/sys/dev/block/{whole}")
    if (partition / "partition").exists():
        whole = (partition.resolve().parent / "dev").read_text().strip()
    files = {path.name: path.read_text() for path in (tmp_path / "guest-web").iterdir()}
    del files["memory.max"], files["pids.max"]
    assert files == {
        "cpuset.cpus": "0-1\n",
        "cpuset.mems": "0\n",
        "cpu.max": "150000 100000\n",
        "cpu.weight": "50\n",
        "io.max": f"{whole} rbps=2097152 wbps=2097152 riops=30 wiops=30\n",
    }
