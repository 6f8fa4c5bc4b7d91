"""One boot of a host with Xen, whose parts end one by one beside a domain: its consoles, its store, Xen itself."""

import re
import shutil

import pytest

from minbuild.lab.boot import boot_image
from minbuild.lab.guest_images import LINUX_READY, make_guest_initramfs
from minbuild.lab.model import BootRequest, ConsoleAction, FaultInjection
from minbuild.progress import SilentProgress
from tests.e2e.guests.conftest import (
    FUNCTIONS,
    LIMIT,
    MANIFESTS,
    GuestBench,
    build_manifest,
    expect_line,
    list_console_lines,
    list_section_lines,
    write_guest_conf,
)
from tests.support.lab import make_boot_setup, require_namespace

pytestmark = [pytest.mark.long, pytest.mark.mirror, pytest.mark.boot]


SILENCE = 900
"""Seconds without a line until it is given up: a domain's kernel writes to a log of its own."""
MONITOR = "\x01c"
"""Ctrl-A c: the console's keys go to QEMU's monitor, and back."""
FIND = r"""
[ "$1" = start ] || exit 0
# find NAME: the process that runs it, in `process`
find() {
    process=
    for entry in /proc/[0-9]*; do
        read -r word 2>/dev/null <"$entry/comm" || continue
        [ "$word" != "$1" ] || process=${entry##*/}
    done
}
until [ -e "$STATE/xen" ]; do nap 0.5; done
"""
SCRIPT = r"""
find xenconsoled
before=$process
kill -9 "$before"
until find xenconsoled && [ -n "$process" ] && [ "$process" != "$before" ]; do nap 0.5; done
wait_for tiny 'guest: up'
vm list | tell list
find xenstored
kill -9 "$process"
while [ -e "$STATE/xen" ]; do nap 0.2; done
vm start other 2>&1 | tell refused
nap 2
say bench 'all is said'
"""
ROWS = ["kernel=/data/kernel", "initrd=/data/tiny", "memory=96", f"ready={LINUX_READY}"]
"""A domain with Debian's cloud kernel and the lab's program."""


@pytest.fixture(scope="module")
def xen_bench(bench: GuestBench, tmp_path_factory: pytest.TempPathFactory) -> GuestBench:
    """The shipped host with Xen that runs /data/bench.sh, with the guest of the others."""
    require_namespace(bench.stage.toolbox)
    path = tmp_path_factory.mktemp("xen") / "manifests"
    shutil.copytree(MANIFESTS, path)
    image = build_manifest(path, "xen-bench") / "xen-bench.efi"
    return GuestBench(make_boot_setup(image), bench.guest)


@pytest.fixture(scope="module")
def console_lines(xen_bench: GuestBench, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the host said from power-on to the end of Xen."""
    path = tmp_path_factory.mktemp("domains")
    tree = xen_bench.write_tree(path / "tree", FUNCTIONS + FIND + SCRIPT)
    (tree / "tiny").write_bytes(make_guest_initramfs())
    for name, start in (("tiny", "yes"), ("other", "no")):
        conf = write_guest_conf(tree, name) / "guest.conf"
        conf.write_text(
            "\n".join([*ROWS, f"autostart={start}", "cmdline=console=hvc0 panic=-1 quiet", ""])
        )
    request = BootRequest(
        xen_bench.stage.image, (expect_line("no such line"),), timeout=LIMIT, silence=SILENCE,
        data_disk=xen_bench.make_disk(path / "disk", tree),
        actions=(ConsoleAction(re.compile("bench: all is said"), f"{MONITOR}nmi\r{MONITOR}"),),
        faults=FaultInjection(ignore_fatal_lines=True),
    )  # fmt: skip
    result = boot_image(request, xen_bench.stage.toolbox, SilentProgress())
    lines = list_console_lines(result)
    assert result.end_reason == "the machine switched itself off or restarted", "\n".join(
        [result.end_reason, *lines[-80:]]
    )
    return lines


def test_consoles_that_ended_are_kept_again_and_serve_a_guest(console_lines: list[str]) -> None:
    assert "xenconsoled: ended (status 137), again in 1 s" in console_lines
    # its console was written by the new one
    assert f"guest tiny: ready: {LINUX_READY}" in console_lines
    assert any(re.match("tiny +running ", one) for one in list_section_lines(console_lines, "list"))


def test_the_end_of_the_store_is_said_and_no_guest_is_started_then(
    console_lines: list[str],
) -> None:
    (ended,) = (line for line in console_lines if line.startswith("xen: FAILED: xenstored ended"))
    assert "(status 137)" in ended
    assert "until this host restarts" in ended
    (refused,) = list_section_lines(console_lines, "refused")
    assert "this host's Xen has no store" in refused


def test_the_end_of_xen_restarts_the_machine(console_lines: list[str]) -> None:
    end = console_lines.index("bench: all is said")
    assert any("(XEN) Panic on CPU 0" in line for line in console_lines[end:])
