"""What somebody may have meant by a path that is not there."""

import pytest

from minbuild.explain.why import find_similar
from minbuild.paths import RootPath

LIB = "/usr/lib/x86_64-linux-gnu"
KVM = "/usr/lib/modules/6.12.1/kernel/arch/x86/kvm"
PATHS = [RootPath(path) for path in (
    "/usr/bin/busybox", "/usr/bin/ip", "/usr/bin/md5sum", "/usr/bin/qemu-system-x86_64-microvm",
    "/usr/bin/sh", f"{LIB}/libz.so.1", f"{LIB}/libz.so.1.3.1", f"{LIB}/libuuid.so.1",
    f"{LIB}/libnuma.so.1", f"{LIB}/libm.so.6", "/etc/passwd", f"{KVM}/kvm.ko.xz",
    f"{KVM}/kvm-intel.ko.xz", f"{KVM}/kvm-amd.ko.xz", "/usr/share/qemu/linuxboot_dma.bin",
    "/usr/share/a/same", "/usr/share/b/same", "/opt/same", "/srv/same", "/etc/conf/same",
)]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("/usr/sbin/ip", ["/usr/bin/ip"]),
        ("/usr/bin/buzybox", ["/usr/bin/busybox"]),
        ("/etc/paswd", ["/etc/passwd"]),
        ("/usr/lib/libz.so", [f"{LIB}/libz.so.1", f"{LIB}/libz.so.1.3.1"]),
        ("/lib/kvm_intel.ko", [f"{KVM}/kvm-intel.ko.xz"]),
        ("/kvm", [f"{KVM}/kvm.ko.xz"]),
        ("/usr/bin/qemu-system-x86_64", ["/usr/bin/qemu-system-x86_64-microvm"]),
        ("/usr/share/qemu/linuxboot.bin", ["/usr/share/qemu/linuxboot_dma.bin"]),
        pytest.param(f"{LIB}/libselinux.so.1", [], id="all libraries look alike"),
        pytest.param("/usr/bin/qemu-img", [], id="so does all in one directory"),
        ("/libuui", [f"{LIB}/libuuid.so.1"]),
        ("/box", ["/usr/bin/busybox"]),
        ("/usr/bin/bash", []),
        ("/", []),
    ],
)
def test_the_last_name_tells(wanted: str, found: list[str]) -> None:
    assert list(find_similar(RootPath(wanted), PATHS)) == found


def test_of_namesakes_the_nearest_directories_come_first() -> None:
    assert find_similar(RootPath("/usr/share/same"), PATHS)[:2] == (
        "/usr/share/a/same",
        "/usr/share/b/same",
    )
    assert len(find_similar(RootPath("/usr/share/same"), PATHS)) == 3
