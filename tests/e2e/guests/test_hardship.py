"""Power cuts while guests write, a dozen guests at once, as many processors as there may be."""

import re
import subprocess
from pathlib import Path

import pytest

from minbuild.lab.guest_images import LINUX_READY, make_guest_initramfs
from tests.e2e.guests.conftest import GuestBench, expect_line, list_console_lines, write_guest_conf
from tests.unit.toolbox.real import toolbox

pytestmark = [pytest.mark.long, pytest.mark.boot, pytest.mark.mirror]

CUTS = 10
RELAY = r"""
case $1 in
start)
    shown=0
    while :; do
        nap 1
        grep -a 'inside: \(found\|wrote\)' /run/guests/w/console.log >/run/bench.said 2>/dev/null
        total=$(wc -l </run/bench.said)
        sed -n "$((shown + 1)),${total}p" /run/bench.said | while read -r line; do say bench "$line"; done
        shown=$total
        if [ "$shown" -gt 1 ] && grep -q bench.last /proc/cmdline; then poweroff; exit; fi
    done
    ;;
esac
"""


def test_ten_power_cuts_lose_nothing_that_a_guest_was_told_is_written(
    bench: GuestBench, tmp_path: Path
) -> None:
    tree = bench.write_tree(tmp_path / "tree", RELAY)
    write = "cmdline=console=ttyS0 reboot=t panic=-1 quiet inside.write"
    disk = write_guest_conf(tree, "w", "kernel=/data/kernel", "initrd=/data/initrd", "memory=96", write, "disk=w.raw", "ready=inside: ready")  # fmt: skip
    with (disk / "w.raw").open("wb") as file:
        file.truncate(256 << 20)
    data = bench.make_disk(tmp_path / "disk", tree, 320)
    remaining = 0
    for cut in range(CUTS):
        # any numbers: what the guest's kernel says may fall into the middle of a line
        wrote = expect_line(r"bench: inside: wrote \d+\b", 3 + cut % 4)
        result = bench.boot(data, "data: /dev/vda on /data", wrote)
        remaining = check_writes(list_console_lines(result), remaining)
    last = bench.boot(data, "data: unmounted", "init: stopped", cmdline="bench.last")
    check_writes(list_console_lines(last), remaining)
    box = toolbox()
    argv = [*box.build_argv("e2fsck"), "-f", "-n", str(data)]
    checked = subprocess.run(argv, env=box.build_environment(), capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def check_writes(lines: list[str], confirmed: int) -> int:
    """How many words the guest has written; all that it had said before must have been found."""
    text = "\n".join(lines)
    numbers = [int(number) for number in re.findall(r"bench: inside: found (\d+)", text)]
    wrote = [int(number) for number in re.findall(r"bench: inside: wrote (\d+)", text)]
    print("found", numbers[0], "of", confirmed, "then wrote up to", max(wrote))
    assert numbers[0] >= confirmed
    return max(wrote) + 1


DOZEN = 12
LEAST = 1536
"""MiB of a host that carries twelve guests of 96 MiB."""


def test_twelve_guests_run_at_once(bench: GuestBench, tmp_path: Path) -> None:
    tree = bench.write_tree(tmp_path / "tree", "")
    (tree / "tiny").write_bytes(make_guest_initramfs())
    names = [f"g{number}" for number in range(DOZEN)]
    for name in names:
        rows = ["kernel=/data/kernel", "initrd=/data/tiny", "memory=96", f"ready={LINUX_READY}"]
        write_guest_conf(tree, name, *rows)
        (tree / "guests" / name / "guest.conf").write_text("\n".join([*rows, ""]))
    (tree / "bench.sh").write_text(COUNT)
    data = bench.make_disk(tmp_path / "disk", tree)
    ready = [rf"guest {name}: ready" for name in names]
    result = bench.boot(data, *ready, r"bench: free", memory=LEAST)
    print("\n".join(line for line in list_console_lines(result) if line.startswith("bench")))
    assert not any("Out of memory" in line for line in list_console_lines(result))


COUNT = r""". /usr/lib/minbuild/init
case $1 in
start)
    until [ "$(grep -l 'guest: up' /run/guests/*/console.log | wc -l)" = 12 ]; do nap 2; done
    say bench "free $(free -m | sed -n 's/^Mem: *//p')"
    ;;
esac
"""


def test_a_guest_may_have_sixteen_processors(bench: GuestBench, tmp_path: Path) -> None:
    tree = bench.write_tree(tmp_path / "tree", "")
    write_guest_conf(tree, "many", "cpus=16", "memory=256", "ready=inside: up with 16 cpus")
    disk = bench.make_disk(tmp_path / "disk", tree)
    result = bench.boot(disk, "guest many: ready: inside: up with 16 cpus")
    print("16 processors:", *(f"{one.uptime} s of uptime" for one in result.outcomes))


def test_a_guest_of_64_processors_is_begun(bench: GuestBench, tmp_path: Path) -> None:
    # two emulated processors that take turns for 64 do not bring them all up at every try
    tree = bench.write_tree(tmp_path / "tree", "")
    write_guest_conf(tree, "many", "cpus=64", "memory=256")
    disk = bench.make_disk(tmp_path / "disk", tree)
    bench.boot(disk, r"guest many: started \(pid \d+, 64 cpus, 256 MiB\)")
