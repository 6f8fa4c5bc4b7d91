"""tiny.yaml: its kernel is compiled from Debian's source, once, and its host does what host.yaml's does.

About ten minutes of processor time where the store has no kernel yet.
"""

import json
import re
from pathlib import Path

import pytest

from minbuild.lab.boot import boot_image
from minbuild.lab.model import BootRequest, Firmware
from minbuild.pipeline.boot_setup import prepare_boot
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.progress import SilentProgress
from tests.e2e.small_host import minbuild
from tests.e2e.test_manifests import LIMIT, list_failures
from tests.support.lab import STORE, require_namespace
from tests.unit.toolbox.real import toolbox

pytestmark = [pytest.mark.mirror, pytest.mark.boot, pytest.mark.long]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which tiny.yaml was built."""
    require_namespace(toolbox())
    directory = tmp_path_factory.mktemp("tiny")
    ended = minbuild("make", "tiny.yaml", "--store", str(STORE), cwd=directory)
    assert ended.code == 0, ended.err  # also where it is over its budget
    return directory


def test_no_module_is_in_it(build: Path) -> None:
    footprint = json.loads((build / "build/tiny/footprint.json").read_text("utf-8"))
    paths = [row["path"] for row in footprint["files"]]
    assert not [path for path in paths if "/lib/modules/" in path]


def test_a_second_build_compiles_nothing(build: Path) -> None:
    (build / "build/tiny/footprint.json").unlink()
    ended = minbuild("make", "tiny.yaml", "--store", str(STORE), cwd=build)
    assert ended.code == 0, ended.err
    assert "compiling" not in ended.err


def test_every_asked_option_has_its_reason(build: Path) -> None:
    options = json.loads((build / "build/tiny/kernel-options.json").read_text("utf-8"))
    asked = {one["name"]: one["by"] for one in options["requests"]}
    assert asked["VIRTIO_NET"] == "network/virtio"
    assert len([name for name in asked if name.startswith("MITIGATION_")]) >= 24
    ended = minbuild("why", "build/tiny", "CONFIG_IRQ_REMAP", cwd=build)
    assert re.search(r"kernel/base\n.*X86_X2APIC=y.*\n.*IRQ_REMAP=y", ended.out)


def test_it_does_what_the_host_does(build: Path) -> None:
    session = Session(STORE, SilentProgress())
    request = BuildRequest(Path("host.yaml"))
    setup = prepare_boot(
        str(build / "build/tiny/tiny.raw"), request, session, firmware=Firmware.UEFI
    )
    boot = BootRequest(
        setup.image, setup.probes, firmware=Firmware.UEFI, timeout=LIMIT,
        guest_kernel=setup.guest_kernel,
    )  # fmt: skip
    result = boot_image(boot, setup.toolbox, SilentProgress())
    assert list_failures(result) == {}
