"""Tables of needs that no file header shows, each with its source."""

import re

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

THREAD_CANCEL_FUNCTIONS = ("pthread_cancel", "pthread_exit", "thrd_exit")
"""Functions of libc that end the process when they cannot load LIBGCC.

Source: glibc nptl/pthread_cancel.c, nptl/pthread_exit.c ("libgcc_s.so.1 must be installed for
pthread_cancel to work"). backtrace() only returns nothing then, so it is none of them.
"""

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
