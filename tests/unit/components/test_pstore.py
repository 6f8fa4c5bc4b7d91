"""The last words of a panic: what the firmware kept, in this machine's shell and in BusyBox."""

import os
from pathlib import Path

import pytest

from tests.unit.components.conftest import PARTS, run

pytestmark = pytest.mark.usefixtures("shell")
PANIC = "Kernel panic - not syncing: sysrq triggered crash"
INIT = """
say() { echo "$1: $2"; }
await() { [ "$1" != data-settled ] || [ -d "$ROOT/data" ]; }
mount() { :; }
"""


def start(root: Path) -> list[str]:
    """What the step says on a host with these records."""
    (root / "run/minbuild").mkdir(parents=True, exist_ok=True)
    if (root / "data").exists():
        (root / "run/minbuild/data").touch()
    script = (PARTS / "kernel/pstore.sh").read_text()
    script = script.replace(". /usr/lib/minbuild/init", INIT).replace(
        "$STATE", "$ROOT/run/minbuild"
    )
    for place in ("/sys/fs/pstore", "/sys/module", "/data/panics", "/run/panic"):
        script = script.replace(place, f"{root}{place}")
    return run(root, f"ROOT={root}\nset -- start\n{script}").replace(str(root), "").splitlines()


def write_record(root: Path, name: str, time: int, text: str) -> Path:
    path = root / "sys/fs/pstore" / name
    path.write_text(text)
    os.utime(path, (time, time))
    return path


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with UEFI whose kernel panicked once: two records, numbered from the log's end."""
    (tmp_path / "sys/fs/pstore").mkdir(parents=True)
    parameters = tmp_path / "sys/module/pstore/parameters"
    parameters.mkdir(parents=True)
    (parameters / "backend").write_text("efi_pstore\n")
    panic = "<0>[ 9.2] Kernel panic - not syncing: sysrq triggered crash\n<4>[ 9.3] CPU: 1\n"
    write_record(
        tmp_path, "dmesg-efi_pstore-179600000001001", 1796000000, f"Panic#1 Part1\n{panic}"
    )
    write_record(
        tmp_path,
        "dmesg-efi_pstore-179600000102001",
        1796000001,
        "Panic#1 Part2\n<6>[ 9.1] before\n",
    )
    return tmp_path


def test_a_panic_is_told_and_kept_and_the_firmware_has_room_again(machine: Path) -> None:
    (machine / "data").mkdir()
    assert start(machine) == [
        "pstore: efi_pstore keeps the last words of a panic",
        f"pstore: the kernel stopped at 2026-11-30T00:53:20Z: {PANIC}",
        "pstore: its last 3 lines are in /data/panics/1796000000.txt",
    ]
    assert (machine / "data/panics/1796000000.txt").read_text().splitlines() == [
        "<6>[ 9.1] before",
        "<0>[ 9.2] Kernel panic - not syncing: sysrq triggered crash",
        "<4>[ 9.3] CPU: 1",
    ]
    assert list((machine / "sys/fs/pstore").iterdir()) == []
    assert start(machine) == ["pstore: efi_pstore keeps the last words of a panic"]


def test_two_panics_are_told_apart(machine: Path) -> None:
    (machine / "data").mkdir()
    write_record(
        machine, "dmesg-efi_pstore-179610000001002", 1796100000, "Oops#1 Part1\nOops: 0002\n"
    )
    told = [line for line in start(machine) if "stopped at" in line]
    assert [line.rpartition("Z: ")[2] for line in told] == [
        PANIC,
        "Oops: 0002",
    ]
    assert len(list((machine / "data/panics").iterdir())) == 2


def test_without_a_data_partition_the_words_stay_where_they_are(machine: Path) -> None:
    assert start(machine)[-1] == "pstore: its last lines stay in /sys/fs/pstore"
    assert len(list((machine / "sys/fs/pstore").iterdir())) == 2


def test_a_link_on_the_data_partition_is_not_followed(machine: Path) -> None:
    (machine / "elsewhere").mkdir()
    (machine / "data").mkdir()
    (machine / "data/panics").symlink_to("../elsewhere")
    assert start(machine)[-1] == "pstore: its last lines stay in /sys/fs/pstore"
    (machine / "data/panics").unlink()
    (machine / "data/panics").mkdir()
    (machine / "data/panics/1796000000.txt").symlink_to("../../elsewhere/taken")
    start(machine)
    assert list((machine / "elsewhere").iterdir()) == []
    assert not (machine / "data/panics/1796000000.txt").is_symlink()


def test_the_last_twenty_panics_are_kept(machine: Path) -> None:
    (machine / "data/panics").mkdir(parents=True)
    for number in range(25):
        (machine / f"data/panics/17950000{number:02}.txt").touch()
    start(machine)
    names = sorted(path.name for path in (machine / "data/panics").iterdir())
    assert (len(names), names[0], names[-1]) == (20, "1795000006.txt", "1796000000.txt")


def test_a_machine_without_such_memory_is_told(machine: Path) -> None:
    (machine / "sys/module/pstore/parameters/backend").write_text("(null)\n")
    assert start(machine) == [
        "pstore: nothing of this machine keeps the words of a panic: neither UEFI nor ERST"
    ]
