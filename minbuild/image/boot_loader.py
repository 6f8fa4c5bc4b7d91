"""systemd-boot on the ESP, which starts one of several versions of a host.

Source: UAPI group, Boot Loader Specification; systemd-boot(7); loader.conf(5).
"""

from pathlib import Path

from minbuild.image.ukify import UEFI_NAMES

LOADER_CONF = "loader/loader.conf"
LOADER_SETTINGS = "timeout menu-disabled\neditor no\nauto-entries yes\nauto-firmware no\n"
"""No menu: nobody at the console chooses a version, or makes one the default for ever.

Source: loader.conf(5).
"""


def list_loader_files(
    uki: Path, loader: Path, settings: Path, name: str, version: int, arch: str
) -> dict[str, Path]:
    """List the files of an ESP from which systemd-boot starts one of several versions.

    Source: UAPI group, Boot Loader Specification, "Type #2" and "Boot counting".
    """
    return {
        f"EFI/BOOT/{UEFI_NAMES[arch].boot_file}": loader,
        f"EFI/Linux/{name}_{version}.efi": uki,
        LOADER_CONF: settings,
    }
