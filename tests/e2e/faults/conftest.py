"""The shipped host, built once in every format, and disks to boot it with."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from minbuild.cli.options import BuildOptions
from minbuild.cli.requests import build_request
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
from minbuild.lab.probes import DEFAULT_LIMIT
from minbuild.pipeline.boot_setup import BootSetup, prepare_boot
from minbuild.pipeline.session import Session
from minbuild.progress import SilentProgress
from tests.support.lab import STORE, make_data_disk, require_namespace

ALL = """\
minbuild: 1
extends: [host.yaml]
name: host
image:
  formats: [uki, raw, qcow2, vhdx, vmdk, vmdk-stream, vdi, iso, pxe, tar, cpio]
budget: {files: 60, packed: 20 MB}
"""


@dataclass(frozen=True, slots=True)
class Host:
    """A built host and the lab's tools."""

    stage: BootSetup

    @property
    def images(self) -> Path:
        return self.stage.image.parent

    def boot(self, *patterns: str | BootProbe, image: str = "", **more: object) -> BootResult:
        """Boot, directly unless an image is named, until the console showed all patterns."""
        values: dict[str, object] = {
            "image": self.images / image if image else self.stage.image,
            "probes": tuple(
                one if isinstance(one, BootProbe) else expect_line(one) for one in patterns
            ),
            "firmware": Firmware.UEFI if image else Firmware.DIRECT,
            "timeout": 600,
        }
        request = BootRequest(**{**values, **more})  # type: ignore[arg-type]
        result = boot_image(request, self.stage.toolbox, SilentProgress())
        states = {one.name: one.state for one in result.outcomes}
        console = "\n".join(line.text for line in result.lines[-60:])
        assert set(states.values()) <= {ProbeState.PASSED}, (
            f"{states}\n{result.end_reason}\n{console}"
        )
        return result

    def make_disk(self, path: Path, tree: Path, size: int, *more: str) -> Path:
        """A data disk of `size` MiB with the files of a directory."""
        return make_data_disk(self.stage.toolbox, path, size, tree, *more)


def expect_line(pattern: str, times: int = 1) -> BootProbe:
    """A probe of one console line, seen so often."""
    sign = ProbePattern(LineSource.CONSOLE, re.compile(pattern), times)
    return BootProbe(f"{pattern} {times}", (sign,), DEFAULT_LIMIT * 8, "it was not seen")


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    path = tmp_path_factory.mktemp("host")
    (path / "every.yaml").write_text(ALL)
    request = build_request(str(path / "every.yaml"), BuildOptions())
    request = replace(request, output=path / "build")
    stage = prepare_boot(
        str(path / "every.yaml"),
        request,
        Session(STORE, SilentProgress()),
        firmware=Firmware.DIRECT,
    )
    return Host(stage)


@pytest.fixture
def namespace(host: Host) -> None:
    """Skip where the lab has no network of its own."""
    require_namespace(host.stage.toolbox)
