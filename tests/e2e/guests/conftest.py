"""A host that runs /data/bench.sh, and a guest that says what it was given: each built once."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from minbuild.formats.uki import read_uki_parts
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
from tests.support.lab import STORE, data_disk, stage_of

MANIFESTS = Path(__file__).parent / "manifests"
LIMIT = 1800
"""Seconds of wall time for a boot, on a machine that does other things too."""
SIZE = 96
"""MiB of a data disk."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The built host and guest, with the lab's tools."""

    stage: BootSetup
    guest: Path
    """Directory of inside.efi and inside.raw."""

    def tree(self, place: Path, script: str) -> Path:
        """A data partition's directory with the guest's kernel and what the host shall run."""
        place.mkdir()
        kernel, initramfs, _ = read_uki_parts(self.guest / "inside.efi")
        (place / "kernel").write_bytes(kernel)
        (place / "initrd").write_bytes(initramfs)
        (place / "bench.sh").write_text(f". /usr/lib/minbuild/init\n{script}")
        return place

    def disk(self, place: Path, tree: Path, size: int = SIZE) -> Path:
        """A data disk of `size` MiB with the files of a directory."""
        return data_disk(self.stage.toolbox, place, size, tree)

    def boot(self, data: Path, *wanted: str | BootProbe, **more: object) -> BootResult:
        """Boot with a data disk until the console showed all patterns."""
        values: dict[str, object] = {
            "image": self.stage.image,
            "probes": tuple(seen(one) if isinstance(one, str) else one for one in wanted),
            "firmware": Firmware.DIRECT,
            "timeout": LIMIT,
            "data_disk": data,
        }
        request = BootRequest(**{**values, **more})  # type: ignore[arg-type]
        result = boot_image(request, self.stage.toolbox, SilentProgress())
        lost = [one.name for one in result.outcomes if one.state is not ProbeState.PASSED]
        assert lost == [], "\n".join([result.end_reason, *said(result)[-80:]])
        return result


def seen(pattern: str, times: int = 1) -> BootProbe:
    """A probe of one console line, or of several that match."""
    sign = ProbePattern(LineSource.CONSOLE, re.compile(pattern), times)
    return BootProbe(pattern, (sign,), LIMIT, "it was not seen")


def said(result: BootResult) -> list[str]:
    """The console's lines, without the kernel's time stamps."""
    lines = [one.text for one in result.lines if one.source is LineSource.CONSOLE]
    return [re.sub(r"^\[ *[0-9.]+\] (minbuild: )?", "", line).rstrip() for line in lines]


def rows(lines: list[str], start: str) -> list[str]:
    """What the bench said under one heading."""
    head = f"bench: {start}: "
    return [line.removeprefix(head) for line in lines if line.startswith(head)]


def conf(tree: Path, name: str, *rows: str) -> Path:
    """A guest's directory with its settings; kernel and initramfs are the bench's if it has no disk."""
    place = tree / "guests" / name
    place.mkdir(parents=True)
    start = [] if any(row.startswith("disk=") for row in rows) else START
    (place / "guest.conf").write_text("\n".join([*start, *rows, ""]))
    return place


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
START = ["kernel=/data/kernel", "initrd=/data/initrd", "memory=96"]


def made(directory: Path, name: str) -> Path:
    """Build a manifest of this directory; its output directory."""
    words = ["make", f"{name}.yaml", "--store", str(STORE)]
    ended = minbuild(*words, cwd=directory)
    place = directory / "build" / name
    assert (place / f"{name}.efi").exists(), ended.err
    return place


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    place = tmp_path_factory.mktemp("guests") / "manifests"
    shutil.copytree(MANIFESTS, place)
    return Bench(stage_of(made(place, "bench") / "bench.efi"), made(place, "inside"))


@pytest.fixture(scope="session")
def ran(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the host with all kinds of guests said, from power-on to power-off: one boot."""
    from tests.e2e.guests import machines

    return machines.run(bench, tmp_path_factory.mktemp("machines"))
