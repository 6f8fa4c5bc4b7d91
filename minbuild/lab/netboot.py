"""Firmware that boots from the network: what the lab's servers offer it, by TFTP and HTTP."""

from pathlib import Path

from minbuild.errors import UsageError
from minbuild.lab.model import Decision, Firmware, Network

BOOT_FILE = "host.efi"
SERVED_DIRECTORY = "net"
"""Directory of files that the lab's servers offer, below the working directory."""
NO_PXE_ARGS = tuple(
    arg
    for version in (4, 6)
    for arg in ("-fw_cfg", f"name=opt/org.tianocore/IPv{version}PXESupport,string=n")
)
"""Switch off PXE in OVMF, so that it boots by HTTP.

Source: edk2, OvmfPkg/Library/PxeBcPcdProducerLib.
"""


def make_served_directory(image: Path, work: Path) -> Path:
    """Make the directory of files that the lab's servers offer: the UKI, as host.efi."""
    directory = work / SERVED_DIRECTORY
    directory.mkdir()
    (directory / BOOT_FILE).symlink_to(image)
    return directory


def require_http_support(firmware: Firmware, network: Decision) -> None:
    """Refuse HTTP boot on QEMU's user network, which has no HTTP server.

    Raises: UsageError.
    """
    if firmware is Firmware.HTTP and network.name != Network.NAMESPACE:
        raise UsageError(
            f"HTTP boot needs the lab's own DHCP server: {network.reason}",
            fix="boot with --pxe, which works on QEMU's user network, or allow user namespaces",
        )


def build_netboot_dnsmasq_args(firmware: Firmware, work: Path, server: str) -> tuple[str, ...]:
    """Build dnsmasq's arguments for a firmware that boots from the network, from `server`.

    Source: dnsmasq(8).
    """
    if firmware is Firmware.PXE:
        return (
            "--enable-tftp",
            f"--tftp-root={work / SERVED_DIRECTORY}",
            f"--dhcp-boot={BOOT_FILE}",
        )
    if firmware is Firmware.HTTP:
        # UEFI 2.10, 24.7.3: the class in the answer must be HTTPClient, too
        return (
            "--dhcp-vendorclass=set:http,HTTPClient",
            "--dhcp-option-force=tag:http,60,HTTPClient",
            f"--dhcp-boot=tag:http,http://{server}/{BOOT_FILE}",
        )
    return ()


def build_tftp_arg(firmware: Firmware, directory: Path | None) -> str:
    """Build the option by which QEMU's user network offers the image by TFTP."""
    if firmware is Firmware.PXE and directory is not None:
        return f",tftp={str(directory).replace(',', ',,')},bootfile={BOOT_FILE}"
    return ""
