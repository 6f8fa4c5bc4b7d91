"""Tables of what no file says: architectures (ELF machine, library directories), and needs without
a header, each with its source."""

import re
from dataclasses import dataclass

from minbuild.errors import ResolveError
from minbuild.facts.model import Elf
from minbuild.resolve import path_glob


@dataclass(frozen=True, slots=True)
class Architecture:
    """One Debian architecture as ld.so sees it."""

    name: str
    triplet: str
    elf_machine: str
    """e_machine as pyelftools names it."""
    bits: int
    little: bool
    platform: str
    """AT_PLATFORM of the baseline; "" where the kernel gives none."""
    cache_flags: int
    """Of an entry of ld.so.cache. Source: glibc sysdeps/generic/ldconfig.h."""
    flags_mask: int = 0
    """Bits of e_flags that must be `flags`."""
    flags: int = 0
    lib64_directories: tuple[str, ...] = ("lib64",)
    """Directories of 64-bit libraries in distributions that keep lib for 32 bits."""

    @property
    def library_directories(self) -> tuple[str, ...]:
        """Where distributions install glibc: Debian, then those with lib64, then those with lib.

        Each is also what $LIB stands for there. Source: ld.so(8), Dynamic string tokens; glibc's
        sysdeps/unix/sysv/linux/*/configure, slibdir; Debian's multiarch.
        """
        return (f"lib/{self.triplet}", *self.lib64_directories, "lib")

    def list_default_directories(self, lib: str) -> tuple[str, ...]:
        """System directories of a glibc that is installed in `lib`; /lib is /usr/lib.

        Source: glibc elf/dl-load.c, system_dirs: where it is itself; Debian's patches, which add
        /usr/lib.
        """
        return (
            (f"/usr/{lib}", "/usr/lib") if lib == self.library_directories[0] else (f"/usr/{lib}",)
        )

    def accepts(self, elf: Elf) -> bool:
        """Tell whether the loader of this machine would map `elf`.

        Source: glibc elf/dl-load.c open_verify, elf_machine_matches_host.
        """
        return (
            elf.machine == self.elf_machine
            and elf.bits == self.bits
            and elf.little == self.little
            and elf.flags & self.flags_mask == self.flags
        )


_ARCHITECTURES = {
    "amd64": Architecture("amd64", "x86_64-linux-gnu", "EM_X86_64", 64, True, "x86_64", 0x303),
    "arm64": Architecture("arm64", "aarch64-linux-gnu", "EM_AARCH64", 64, True, "aarch64", 0xA03),
    # EF_RISCV_FLOAT_ABI (0x6) must be double (0x4), EF_RISCV_RVE (0x8) clear:
    # Source: riscv-elf-psabi-doc, "File Header"; glibc sysdeps/riscv/dl-machine.h
    "riscv64": Architecture(
        "riscv64",
        "riscv64-linux-gnu",
        "EM_RISCV",
        64,
        True,
        "",
        0x1003,
        0xE,
        0x4,
        ("lib64/lp64d", "lib64"),
    ),
}


def find_architecture(arch: str) -> Architecture:
    """Find the data of a Debian architecture.

    Raises: ResolveError for one that is not supported.
    """
    if arch in _ARCHITECTURES:
        return _ARCHITECTURES[arch]
    names = ", ".join(_ARCHITECTURES)
    raise ResolveError(f"the architecture {arch} is not supported", fix=f"use one of {names}")


def identify_architecture(elf: Elf) -> str:
    """The Debian architecture whose loader would map `elf`; "" for none that is known."""
    return next((name for name, one in _ARCHITECTURES.items() if one.accepts(elf)), "")


PROGRAM_DIRECTORIES = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
)
"""Where `env NAME` looks. Source: Debian Policy 10, login's and init's default PATH."""

RUNTIME_DIRECTORIES = ("/dev", "/proc", "/run", "/sys", "/tmp")
"""Directories filled while the host runs: no package's file is ever seen there.

Source: hier(7); Filesystem Hierarchy Standard 3.0, sections 3.15, 3.18 and 6.1.
"""

DOCUMENTATION_DIRECTORIES = tuple(
    f"/usr/share/{name}/" for name in ("doc", "man", "info", "bug", "lintian", "locale")
)
"""Directories of what people read: no program needs it to work. Source: Debian Policy 12."""

SHARED_DIRECTORIES = re.compile(
    r"/|/(?:boot|etc|opt|srv|usr|var)|/etc/(?:default|init\.d|cron\.d|security)"
    r"|/usr/(?:s?bin|games|include|lib(?:32|64|x32|exec)?|local|share|src)(?:/modules|/firmware)?"
    r"|/usr/lib/[a-z0-9_]+-linux-[a-z]+|/usr/local/.*|/var/(?:cache|lib|log|mail|spool)"
)
"""Directories that belong to no program, even where one package alone has something in them.

Source: Filesystem Hierarchy Standard 3.0; Debian Policy 9.1.
"""

LIBGCC = "libgcc_s.so.1"
"""The library that glibc itself loads to unwind a thread's stack. Source: glibc misc/unwind-link.c."""

BUILTIN_DRIVER_ALIASES = {
    "ahci": ("pci:v*d*sv*sd*bc01sc06i01*",),
    "nvme": ("pci:v*d*sv*sd*bc01sc08i02*",),
    "virtio_blk": ("virtio:d00000002v*",),
    "virtio_console": ("virtio:d00000003v*",),
    "virtio_mmio": ("acpi*:LNRO0005:*", "of:N*T*Cvirtio,mmio*"),
    "virtio_net": ("virtio:d00000001v*",),
    "virtio_pci": ("pci:v00001AF4d*sv*sd*bc*sc*i*",),
    "virtio_scsi": ("virtio:d00000008v*",),
    "xhci_pci": ("pci:v*d*sv*sd*bc0Csc03i30*",),
}
"""Devices of drivers that Debian's kernels have built in, where the kernel's own files are silent.

Until Linux 6.18 modules.builtin.modinfo has no aliases of device tables. Source: the tables in
drivers/ata/ahci.c, nvme/host/pci.c, usb/host/xhci-pci.c, virtio/, block/virtio_blk.c, and so on.
"""

CONFIGURED_REQUESTS = {
    "fat": (("FAT_DEFAULT_CODEPAGE", "nls_cp{}"),),
    "vfat": (("FAT_DEFAULT_IOCHARSET", "nls_{}"),),
}
"""Modules → options of the kernel whose value names a module that they ask for when they are used.

Source: Linux fs/fat/inode.c, fat_fill_super ("cp%d") and load_nls; fs/nls/nls_base.c ("nls_%s").
Without them a mount fails: "codepage cp437 not found".
"""

OPTION_MODULES = {
    "ACPI_BUTTON": "button",
    "BLK_DEV_SD": "sd_mod",
    "BLK_DEV_SR": "sr_mod",
    "EFIVAR_FS": "efivarfs",
    "EXT4_FS": "ext4",
    "FAT_FS": "fat",
    "INPUT_EVDEV": "evdev",
    "IPMI_DEVICE_INTERFACE": "ipmi_devintf",
    "IPMI_HANDLER": "ipmi_msghandler",
    "NF_TABLES_BRIDGE": "",
    "PACKET": "af_packet",
    "SATA_AHCI": "ahci",
    "SCSI": "scsi_mod",
    "USB": "usbcore",
    "USB_HID": "usbhid",
    "VFAT_FS": "vfat",
    "VLAN_8021Q": "8021q",
    "VSOCKETS": "vsock",
    "XFS_FS": "xfs",
}
"""Options of the kernel → their module, where it is not called as the option; "" for none of its own.

Source: the Makefiles of Linux 6.12: obj-$(CONFIG_EXT4_FS) += ext4.o; net/netfilter/nft_chain_filter.c
is part of nf_tables wherever NF_TABLES_BRIDGE is set.
"""


HYPERVISOR_GLOB = "/boot/xen*.efi"
"""Xen as an EFI program, where Debian's packages have it."""


def is_hypervisor_path(path: str) -> bool:
    """Tell whether a file is Xen, which starts the kernel."""
    return path_glob.matches(HYPERVISOR_GLOB, path)
