"""A host that runs /data/bench.sh, and a guest that says what it was given: each built once."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from minbuild.formats.uki import read_uki_file
from minbuild.lab.boot import boot_image
from minbuild.lab.model import (
    BootProbe,
    BootRequest,
    BootResult,
    Firmware,
    LineSource,
    ProbePattern,
    ProbeState,
)
from minbuild.pipeline.boot_setup import BootSetup
from minbuild.progress import SilentProgress
from tests.e2e.small_host import minbuild
from tests.support.lab import STORE, make_boot_setup, make_data_disk

MANIFESTS = Path(__file__).parent / "manifests"
LIMIT = 1800
"""Seconds of wall time for a boot, on a machine that does other things too."""
SIZE = 96
"""MiB of a data disk."""


@dataclass(frozen=True, slots=True)
class GuestBench:
    """The built host and guest, with the lab's tools."""

    stage: BootSetup
    guest: Path
    """Directory of inside.efi and inside.raw."""

    def write_tree(self, path: Path, script: str) -> Path:
        """A data partition's directory with the guest's kernel and what the host shall run."""
        path.mkdir()
        uki = read_uki_file(self.guest / "inside.efi")
        (path / "kernel").write_bytes(uki.linux)
        (path / "initrd").write_bytes(uki.initrd)
        (path / "bench.sh").write_text(f". /usr/lib/minbuild/init\n{script}")
        return path

    def make_disk(self, path: Path, tree: Path, size: int = SIZE) -> Path:
        """A data disk of `size` MiB with the files of a directory."""
        return make_data_disk(self.stage.toolbox, path, size, tree)

    def boot(self, data: Path, *patterns: str | BootProbe, **more: object) -> BootResult:
        """Boot with a data disk until the console showed all patterns."""
        values: dict[str, object] = {
            "image": self.stage.image,
            "probes": tuple(expect_line(one) if isinstance(one, str) else one for one in patterns),
            "firmware": Firmware.DIRECT,
            "timeout": LIMIT,
            "data_disk": data,
        }
        request = BootRequest(**{**values, **more})  # type: ignore[arg-type]
        result = boot_image(request, self.stage.toolbox, SilentProgress())
        failed = [one.name for one in result.outcomes if one.state is not ProbeState.PASSED]
        assert failed == [], "\n".join([result.end_reason, *list_console_lines(result)[-80:]])
        return result


def expect_line(pattern: str, times: int = 1) -> BootProbe:
    """A probe of one console line, or of several that match."""
    sign = ProbePattern(LineSource.CONSOLE, re.compile(pattern), times)
    return BootProbe(pattern, (sign,), LIMIT, "it was not seen")


def list_console_lines(result: BootResult) -> list[str]:
    """The console's lines, without the kernel's time stamps."""
    lines = [one.text for one in result.lines if one.source is LineSource.CONSOLE]
    return [re.sub(r"^\[ *[0-9.]+\] (minbuild: )?", "", line).rstrip() for line in lines]


def list_section_lines(lines: list[str], start: str) -> list[str]:
    """What the bench said under one heading."""
    head = f"bench: {start}: "
    return [line.removeprefix(head) for line in lines if line.startswith(head)]


def write_guest_conf(tree: Path, name: str, *rows: str) -> Path:
    """A guest's directory with its settings; kernel and initramfs are the bench's if it has no disk."""
    path = tree / "guests" / name
    path.mkdir(parents=True)
    start = [] if any(row.startswith("disk=") for row in rows) else START
    (path / "guest.conf").write_text("\n".join([*start, *rows, ""]))
    return path


FUNCTIONS = r"""
# tell HEADING: what it reads, line by line, as `rows` finds it
tell() {
    while read -r line; do
        say bench "$1: $line"
    done
}
# wait_for GUEST TEXT
wait_for() {
    until grep -q "$2" "/run/guests/$1/console.log" 2>/dev/null; do
        nap 0.5
    done
}
gone() {
    while [ -e "/run/guests/$1/pid" ]; do
        nap 0.5
    done
}
"""
"""What a bench's script may call."""
QUIET = "cmdline=console=ttyS0 reboot=t panic=-1 quiet"
"""A guest that does not write its kernel's log, which takes a sixth of an emulated boot."""
START = ["kernel=/data/kernel", "initrd=/data/initrd", "memory=96", QUIET]


def build_manifest(directory: Path, name: str) -> Path:
    """Build a manifest of this directory; its output directory."""
    argv = ["make", f"{name}.yaml", "--store", str(STORE)]
    ended = minbuild(*argv, cwd=directory)
    path = directory / "build" / name
    assert (path / f"{name}.efi").exists(), ended.err
    return path


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> GuestBench:
    path = tmp_path_factory.mktemp("guests") / "manifests"
    shutil.copytree(MANIFESTS, path)
    return GuestBench(
        make_boot_setup(build_manifest(path, "bench") / "bench.efi"), build_manifest(path, "inside")
    )


@pytest.fixture(scope="session")
def console_lines(bench: GuestBench, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the host with all kinds of guests said, from power-on to power-off: one boot."""
    from tests.e2e.guests import machines

    return machines.boot_guests(bench, tmp_path_factory.mktemp("machines"))
