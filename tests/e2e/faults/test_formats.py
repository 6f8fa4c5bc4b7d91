"""Every format that a machine can start from is started, and comes to its lease."""

import re
from pathlib import Path

import pytest

from minbuild.lab.model import AttachAs, BootProbe, Firmware, LineSource, ProbePattern
from tests.e2e.faults.conftest import Host
from tests.support.lab import require_namespace
from tests.support.sample import sampled_feature, sampled_params
from tests.unit.toolbox.real import IPXE_EFI, IPXE_KERNEL, toolbox

pytestmark = [pytest.mark.boot, pytest.mark.mirror, pytest.mark.xdist_group("formats")]

LEASE = r"minbuild: dhcp: lease"
LIMIT = 600


@pytest.mark.long
@pytest.mark.parametrize("kind", ["efi", "raw", "qcow2", "vhdx", "vmdk", "stream.vmdk", "vdi"])
def test_it_boots_by_uefi(kind: str, host: Host) -> None:
    host.boot(LEASE, image=f"host.{kind}")


@sampled_feature("media")
@pytest.mark.parametrize("way", sampled_params(["cd", "stick", "ipxe"]))
def test_an_iso_boots_from_a_cd_and_a_stick_and_the_script_of_pxe_on_a_bios(
    way: str, host: Host, tmp_path: Path
) -> None:
    if way == "ipxe":
        require_namespace(host.stage.toolbox)
        boot_by_ipxe_script(host, tmp_path)
    else:
        host.boot(LEASE, image="host.iso", attach=AttachAs(way))


@pytest.mark.long
@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize("firmware", [Firmware.PXE, Firmware.HTTP])
def test_it_boots_from_the_network(firmware: Firmware, host: Host) -> None:
    result = host.boot(LEASE, image="host.efi", firmware=firmware)
    assert result.outcomes[0].name == firmware.value


@pytest.mark.long
@pytest.mark.parametrize("name", ["host.cpio", "host.pxe/initrd"])
def test_kernel_and_initramfs_boot_directly(name: str, host: Host) -> None:
    images = host.images
    host.boot(
        LEASE,
        image="host.pxe/vmlinuz",
        initramfs=images / name,
        firmware=Firmware.DIRECT,
        cmdline="console=ttyS0 panic=10 loglevel=6",
    )


@pytest.fixture
def settings(host: Host, tmp_path: Path) -> Path:
    return write_settings(host, tmp_path)


def write_settings(host: Host, directory: Path) -> Path:
    """The example of host.pxe, with the folder where it is."""
    folder = host.images / "host.pxe"
    text = (folder / "dnsmasq.conf").read_text()
    assert "/srv/host.pxe" in text
    (directory / "dnsmasq.conf").write_text(text.replace("/srv/host.pxe", str(folder)))
    return directory / "dnsmasq.conf"


@pytest.mark.long
@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize("firmware", [Firmware.PXE, Firmware.HTTP])
def test_the_example_settings_of_pxe_boot_the_host(
    firmware: Firmware, host: Host, settings: Path
) -> None:
    host.boot(LEASE, image="host.efi", firmware=firmware, dnsmasq_conf=settings)


def boot_by_ipxe_script(host: Host, directory: Path) -> None:
    """On a BIOS: iPXE is started as if a card had it, and asks the example's dnsmasq what to do."""
    (directory / "start").write_text("#!ipxe\nautoboot\n")
    host.boot(
        LEASE,
        BootProbe(
            "script", list_tftp_patterns("boot.ipxe", "vmlinuz", "initrd"), LIMIT, "not fetched"
        ),
        image=str(toolbox(lab=True).find_path(IPXE_KERNEL)),
        initramfs=directory / "start",
        firmware=Firmware.DIRECT,
        dnsmasq_conf=write_settings(host, directory),
    )


@pytest.mark.long
@pytest.mark.usefixtures("namespace")
def test_the_script_of_pxe_boots_the_host_by_uefi(
    host: Host, settings: Path, tmp_path: Path
) -> None:
    """The firmware is handed iPXE, and iPXE what the example says."""
    folder, served = host.images / "host.pxe", tmp_path / "served"
    served.mkdir()
    for each in (*folder.iterdir(), toolbox(lab=True).find_path(IPXE_EFI)):
        (served / each.name).symlink_to(each)
    text = settings.read_text().replace(str(folder), str(served))
    ours = "dhcp-boot=tag:uefi,tag:!ipxe,"
    assert f"{ours}host.efi" in text
    settings.write_text(text.replace(f"{ours}host.efi", f"{ours}snponly.efi"))
    host.boot(
        LEASE,
        BootProbe(
            "script",
            list_tftp_patterns("snponly.efi", "boot.ipxe", "host.efi"),
            LIMIT,
            "not fetched",
        ),
        image="host.efi",
        firmware=Firmware.PXE,
        dnsmasq_conf=settings,
    )


def list_tftp_patterns(*names: str) -> tuple[ProbePattern, ...]:
    """What dnsmasq says of files that were fetched by TFTP."""
    return tuple(
        ProbePattern(LineSource.DNSMASQ, re.compile(rf"sent \S*/{re.escape(name)} to "))
        for name in names
    )
