"""The real toolbox, and tools that only tests need, of packages of the machine's mirror."""

import functools

from minbuild.cache.store import Store
from minbuild.manifest.model import Location, PackagePaths, Tool
from minbuild.manifest.shipped_manifests import load_tools
from minbuild.paths import RootPath
from minbuild.toolbox.toolbox import Toolbox
from tests.support.cache import cache_directory
from tests.support.real_archive import make_toolbox, open_real_archive

EPOCH = 1700000000
ORACLES = {
    "fsck.fat": "dosfstools",
    "sgdisk": "gdisk",
    "cgpt": "cgpt",
    "mdir": "mtools",
    "debugfs": "e2fsprogs",
    "mksquashfs": "squashfs-tools",
    "mkfs.erofs": "erofs-utils",
    "mkfs.xfs": "xfsprogs",
    "mkfs.btrfs": "btrfs-progs",
    "cpio": "cpio",
    "sbverify": "sbsigntool",
    "softhsm2-util": "softhsm2",
    "dbclient": "dropbear-bin",
    "dropbearkey": "dropbear-bin",
    "mandoc": "mandoc",
}
ADMIN = ("fsck.fat", "sgdisk", "e2fsck", "debugfs", "mkfs.xfs", "mkfs.btrfs")
"""Those in /usr/sbin; all others are in /usr/bin."""
MORE = {"softhsm2-util": {"libsofthsm2": "/usr/lib/*/softhsm/libsofthsm2.so"}}
"""What an oracle opens by a name that is no soname: package and path."""
IPXE_KERNEL = RootPath("/usr/lib/ipxe/ipxe.lkrn")
IPXE_EFI = RootPath("/usr/lib/ipxe/snponly.efi")
BUILDS = ("mke2fs",)
"""Tools of the lab that builds use, too."""


def oracle(name: str, package: str) -> Tool:
    """A tool that nothing but a test runs."""
    place = f"/usr/{'sbin' if name in ADMIN else 'bin'}/{name}"
    where = Location("test", 1, 1)
    paths = {package: place, **MORE.get(name, {})}
    packages = tuple(PackagePaths(each, (path,), where) for each, path in paths.items())
    return Tool(name, name, RootPath(place), packages, False, where)


def kernel(version: str) -> Tool:
    """The kernel, as if it were a tool: only its image."""
    where = Location("test", 1, 1)
    path = f"/boot/vmlinuz-{version}"
    package = PackagePaths(f"linux-image-{version}", (path,), where)
    return Tool("kernel", "kernel", RootPath(path), (package,), False, where)


def ipxe() -> Tool:
    """iPXE, as if it were a tool: as a kernel for a BIOS, and for UEFI."""
    where = Location("test", 1, 1)
    package = PackagePaths("ipxe", (IPXE_KERNEL, IPXE_EFI), where)
    return Tool("ipxe", "ipxe", IPXE_KERNEL, (package,), False, where)


@functools.cache
def store() -> Store:
    """One store for all test runs of this user: packages are fetched once."""
    return Store(cache_directory("tool"))


@functools.cache
def toolbox(*, lab: bool = False) -> Toolbox:
    """The toolbox with the oracles; with `lab` also QEMU, its firmware, a kernel and iPXE."""
    market = open_real_archive(store())
    tools = [tool for tool in load_tools() if lab or not tool.lab or tool.name in BUILDS]
    tools += [oracle(name, package) for name, package in ORACLES.items()]
    if lab:
        tools += [oracle("busybox", "busybox-static"), ipxe()]
        name = market.index.find_depends("linux-image-cloud-amd64")[0][0]
        tools.append(kernel(name.removeprefix("linux-image-")))
    return make_toolbox(tools, market, epoch=EPOCH)
