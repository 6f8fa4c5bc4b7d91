"""What a machine that starts from the network is told, and what it is handed."""

from pathlib import Path

from minbuild.errors import UsageError
from minbuild.lab.link import ADDRESS
from minbuild.lab.types import Choice, Firmware, Network

FILE = "host.efi"
FOLDER = "net"

NO_PXE = tuple(
    word
    for version in (4, 6)
    for word in ("-fw_cfg", f"name=opt/org.tianocore/IPv{version}PXESupport,string=n")
)
"""Leaves HTTP as the only way to the network. Source: edk2, OvmfPkg/Library/PxeBcPcdProducerLib."""


def folder(image: Path, work: Path) -> Path:
    """Make the directory that the lab's servers hand out, with the UKI in it."""
    place = work / FOLDER
    place.mkdir()
    (place / FILE).symlink_to(image)
    return place


def checked(firmware: Firmware, network: Choice) -> None:
    """Refuse HTTP boot where the lab has no server of its own.

    Raises: UsageError.
    """
    if firmware is Firmware.HTTP and network.name != Network.NAMESPACE:
        raise UsageError(
            f"HTTP boot needs the lab's own DHCP server: {network.why}",
            fix="boot with --pxe, which QEMU's own network can do, or allow user namespaces",
        )


def dnsmasq_words(firmware: Firmware, place: Path) -> tuple[str, ...]:
    """dnsmasq's arguments for a machine that starts from the network. Source: dnsmasq(8)."""
    if firmware is Firmware.PXE:
        return ("--enable-tftp", f"--tftp-root={place}", f"--dhcp-boot={FILE}")
    if firmware is Firmware.HTTP:
        # UEFI 2.10, 24.7.3: the answer's class must say HTTPClient too
        return (
            "--dhcp-vendorclass=set:http,HTTPClient",
            "--dhcp-option-force=tag:http,60,HTTPClient",
            f"--dhcp-boot=tag:http,http://{ADDRESS}/{FILE}",
        )
    return ()


def netdev_words(firmware: Firmware, place: Path | None) -> str:
    """What QEMU's own network hands out."""
    if firmware is Firmware.PXE and place is not None:
        return f",tftp={str(place).replace(',', ',,')},bootfile={FILE}"
    return ""
