"""Network boot: firmware that fetches its image from the lab's servers."""

from pathlib import Path

import pytest

from minbuild.errors import UsageError
from minbuild.image.ukify import UkiParts, build_uki
from minbuild.lab.boot import boot_image
from minbuild.lab.model import BootRequest, Decision, Firmware, Network, ProbeState
from minbuild.lab.netboot import require_http_support
from minbuild.lab.probes import make_probe
from minbuild.paths import RootPath
from minbuild.progress import SilentProgress
from tests.support.sample import sampled_params
from tests.unit.toolbox.real import toolbox

pytestmark = [pytest.mark.mirror]


@pytest.fixture(scope="module")
def uki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A UKI without a kernel: small, and its stub says so when it is started."""
    work, box = tmp_path_factory.mktemp("uki"), toolbox(lab=True)
    stub = box.find_path(RootPath("/usr/lib/systemd/boot/efi/linuxx64.efi.stub"))
    (work / "initrd").write_bytes(b"none")
    parts = UkiParts("amd64", stub, work / "initrd", "quiet", b"ID=x\n", "1")
    build_uki(parts, work / "host.efi", work, box)
    return work / "host.efi"


@pytest.mark.boot
@pytest.mark.parametrize("firmware", sampled_params([Firmware.PXE, Firmware.HTTP]))
def test_uefi_fetches_the_image_and_starts_it(firmware: Firmware, uki: Path) -> None:
    started = make_probe(
        "stub", "(?i)(Error registering initrd|EFI stub|Unable to|kernel)", 150, "x"
    )
    request = BootRequest(
        uki, (started,), firmware=firmware, timeout=150,
        network=Network.AUTO, memory=256, cpus=1,
    )  # fmt: skip
    try:
        result = boot_image(request, toolbox(lab=True), SilentProgress())
    except UsageError:
        pytest.skip("HTTP boot needs a network namespace, which this user may not make")
    fetched = result.outcomes[0]
    assert (fetched.name, fetched.state) == (firmware.value, ProbeState.PASSED), result.lines


def test_http_is_refused_on_qemu_s_own_network() -> None:
    require_http_support(Firmware.PXE, Decision(Network.USER, "requested"))
    with pytest.raises(UsageError, match="HTTP boot needs"):
        require_http_support(Firmware.HTTP, Decision(Network.USER, "requested"))


def test_a_disk_cannot_come_from_the_network(tmp_path: Path) -> None:
    (tmp_path / "host.raw").write_bytes(bytes(4096))
    request = BootRequest(tmp_path / "host.raw", (), firmware=Firmware.PXE)
    with pytest.raises(UsageError, match="is a disk image"):
        boot_image(request, toolbox(lab=True), SilentProgress())
