"""What UEFI calls an architecture."""

from collections.abc import Mapping
from dataclasses import dataclass

from minbuild.paths import RootPath


@dataclass(frozen=True, slots=True)
class Uefi:
    """The names of one architecture."""

    name: str
    """As systemd's stub and ukify say it: x64."""
    default: str
    """The file that firmware starts from a disk with no entry of its own, below EFI/BOOT."""

    @property
    def stub(self) -> RootPath:
        """systemd's stub, which begins a UKI."""
        return RootPath(f"/usr/lib/systemd/boot/efi/linux{self.name}.efi.stub")


UEFI: Mapping[str, Uefi] = {
    "amd64": Uefi("x64", "BOOTX64.EFI"),
    "arm64": Uefi("aa64", "BOOTAA64.EFI"),
    "riscv64": Uefi("riscv64", "BOOTRISCV64.EFI"),
}
"""By Debian architecture. Source: UEFI 2.10, 3.5.1.1, Removable Media Boot Behavior."""
