"""Roots as other distributions lay them: libraries below lib64, kernels beside their modules.

Source: where the packages glibc and kernel of Fedora, CentOS, openSUSE, Gentoo and Arch keep files.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.dib import rpms
from tests.dib.installed import paths
from tests.e2e.small_host import Small, minbuild
from tests.support.cache import cache_directory
from tests.support.deb import Deb, parse

STORE = cache_directory("lab")
VERSION = "6.9.1"
PACKAGES = r"""
Package: hello
/usr/bin/hello elf interp=/lib64/ld-linux-x86-64.so.2 needed=libhello.so.1,libc.so.6
/usr/bin/other elf interp=/lib64/ld-linux-x86-64.so.2 needed=libc.so.6
/usr/bin/plug elf interp=/lib64/ld-linux-x86-64.so.2 needed=libplug.so.2 runpath=/usr/$LIB/plug

Package: libhello
/usr/LIB/libhello.so.1 -> libhello.so.1.2
/usr/LIB/libhello.so.1.2 elf soname=libhello.so.1 needed=libc.so.6
/usr/LIB/plug/libplug.so.2 elf soname=libplug.so.2

Package: glibc
/usr/LIB/ld-linux-x86-64.so.2 elf soname=ld-linux-x86-64.so.2
/usr/LIB/libc.so.6 elf soname=libc.so.6

Package: kernel
/usr/lib/modules/6.9.1/config file "CONFIG_INET=y\nCONFIG_KVM=m\n"
/usr/lib/modules/6.9.1/modules.builtin file "kernel/fs/ext4/ext4.ko\n"
/usr/lib/modules/6.9.1/kernel/FORM module name=kvm
/usr/lib/modules/6.9.1/vmlinuz file "MZ kernel"
"""
MANIFEST = """\
minbuild: 1
name: any
archive: root
kernel: {modules: [kvm]}
keep: [{paths: [/usr/bin/hello, /usr/bin/plug]}]
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a distribution's root differs from Debian's."""

    backend: str
    """Of its rpm; "" for a root without one."""
    lib: str = "lib64"
    form: str = "kvm.ko.xz"
    boot: str = ""
    """What stands in /boot: text, or a link."""

    @property
    def packages(self) -> dict[str, dict[str, str | bytes]]:
        text = PACKAGES.replace("LIB", self.lib).replace(f"${self.lib}", "$LIB")
        result = {deb.name: _files(deb) for deb in parse(text.replace("FORM", self.form))}
        if self.boot:
            result["kernel"][f"/boot/vmlinuz-{VERSION}"] = self.boot
        return result


LAYOUTS = {
    "fedora": Layout("sqlite", boot="MZ kernel"),
    "centos": Layout("bdb", boot="MZ kernel"),
    "opensuse": Layout("ndb", form="kvm.ko.zst", boot=f"-> ../usr/lib/modules/{VERSION}/vmlinuz"),
    "gentoo": Layout("", form="kvm.ko", boot="MZ kernel"),
    "arch": Layout("", lib="lib", form="kvm.ko.zst"),
}


def _files(deb: Deb) -> dict[str, str | bytes]:
    return {
        one.path.lstrip("."): f"-> {one.target}" if one.target else one.data for one in deb.members
    }


def install_layout(top: Path, layout: Layout) -> Path:
    """A root of that layout: by rpm itself, or else file by file."""
    if layout.backend:
        rpms.install(top, layout.backend.replace("bdb", "sqlite"), **layout.packages)
    else:
        rpms.write_files(
            top, {path: one for files in layout.packages.values() for path, one in files.items()}
        )
    if layout.backend == "bdb":
        rpms.convert_to_berkeley(top)
    if layout.lib == "lib":
        (top / "usr/lib64").symlink_to("lib")
    for name in ("lib", "lib64"):
        (top / name).symlink_to(f"usr/{name}")
    return top


@pytest.mark.mirror
@pytest.mark.oracle
@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_root_of_another_distribution_is_trimmed(small: Small, name: str) -> None:
    layout = LAYOUTS[name]
    root = install_layout(small.directory / "root", layout)
    (small.directory / "any.yaml").write_text(MANIFEST, encoding="utf-8")
    argv = ("trim", str(root), "any.yaml", "-o", "out", "--store", str(STORE))
    ended = minbuild(*argv, cwd=small.directory)
    assert ended.code == 0, ended.err
    expected = {
        "/usr/bin/hello": "hello",
        "/usr/bin/plug": "hello",
        f"/usr/{layout.lib}/ld-linux-x86-64.so.2": "glibc",
        f"/usr/{layout.lib}/libc.so.6": "glibc",
        f"/usr/{layout.lib}/libhello.so.1": "libhello",
        f"/usr/{layout.lib}/libhello.so.1.2": "libhello",
        f"/usr/{layout.lib}/plug/libplug.so.2": "libhello",
        f"/usr/lib/modules/{VERSION}/kernel/{layout.form}": "kernel",
    }
    kernels = {f"/boot/vmlinuz-{VERSION}", f"/usr/lib/modules/{VERSION}/vmlinuz"}
    remaining = paths(root)
    assert expected.keys() <= remaining
    assert remaining & kernels
    assert "/usr/bin/other" not in remaining
    assert not [
        path
        for path in remaining - expected.keys() - kernels
        if path.startswith(f"/usr/{layout.lib}/lib")
    ]
    footprint = json.loads((small.directory / "out" / "footprint.json").read_text("utf-8"))
    owners = {row["path"]: row["package"] for row in footprint["files"] if row["path"] in expected}
    unowned = dict.fromkeys(expected, "(unowned)")
    assert owners == (expected if layout.backend else unowned)
