"""Every format that a machine can start from is started, and comes to its lease."""

from pathlib import Path

import pytest

from minbuild.lab.types import Attach, Firmware
from tests.faults.conftest import Host

pytestmark = [pytest.mark.long, pytest.mark.boot, pytest.mark.mirror]

LEASE = r"minbuild: dhcp: lease"


@pytest.mark.parametrize("kind", ["efi", "raw", "qcow2", "vhdx", "vmdk", "vdi", "iso"])
def test_it_boots_by_uefi(kind: str, host: Host) -> None:
    host.boot(LEASE, image=f"host.{kind}")


def test_an_iso_boots_from_a_stick(host: Host) -> None:
    host.boot(LEASE, image="host.iso", attach=Attach.STICK)


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize("firmware", [Firmware.PXE, Firmware.HTTP])
def test_it_boots_from_the_network(firmware: Firmware, host: Host) -> None:
    result = host.boot(LEASE, image="host.efi", firmware=firmware)
    assert result.outcomes[0].name == firmware.value


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


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize("firmware", [Firmware.PXE, Firmware.HTTP])
def test_the_example_settings_of_pxe_boot_the_host(
    firmware: Firmware, host: Host, tmp_path: Path
) -> None:
    folder = host.images / "host.pxe"
    text = (folder / "dnsmasq.conf").read_text()
    assert "/srv/host.pxe" in text
    (tmp_path / "dnsmasq.conf").write_text(text.replace("/srv/host.pxe", str(folder)))
    host.boot(
        LEASE, image="host.efi", firmware=firmware, settings=tmp_path / "dnsmasq.conf", memory=1024
    )
