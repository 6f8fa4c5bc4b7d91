"""Roots whose modules are packed by zstd, which BusyBox's modprobe does not read: Ubuntu, openSUSE."""

import json
import lzma
import subprocess
from pathlib import Path

import pytest

from minbuild.archive import lockfile
from minbuild.cache.store import Store
from minbuild.paths import USRMERGED
from tests.dib.installed import install, paths
from tests.e2e.small_host import PACKAGES, Small, minbuild
from tests.support.cache import cache_directory
from tests.support.deb import compress, parse

STORE = cache_directory("lab")
TOP = "/usr/lib/modules/6.1-cloud-amd64"
ROOT = (
    PACKAGES.replace(".ko.xz", ".ko.zst")
    + r"""
Package: busybox
/usr/bin/busybox 0755 file "\x00[\x00[[\x00modprobe\x00\x00"

Package: kmod
/usr/bin/kmod 0755 file "kmod"
/usr/sbin/modprobe -> ../bin/kmod
"""
)
PART = """\
summary: loads modules
packages: {busybox: [/usr/bin/busybox]}
module-index: [modules.dep]
modules: [kvm]
applets: [modprobe]
"""
OTHER = PART.replace("busybox", "kmod").replace("applets: [modprobe]\n", "")
MANIFEST = """\
minbuild: 1
name: small
archive: {root: root}
kernel: {package: linux-image-cloud-amd64}
services: {use: [loader]}
"""


def write_root(directory: Path, part: str) -> Path:
    """A root, a manifest of it and its component; returns the root."""
    (directory / "components" / "services").mkdir(parents=True)
    (directory / "components/services/loader.yaml").write_text(part, encoding="utf-8")
    (directory / "small.yaml").write_text(MANIFEST, encoding="utf-8")
    return install(ROOT, directory / "root")


def read_plain_module(name: str) -> bytes:
    """A module of the root, not packed."""
    packages = parse(PACKAGES.replace(".ko.xz", ".ko"))
    (result,) = (
        one.data
        for deb in packages
        for one in deb.members
        if one.path == f".{TOP}/kernel/{name}.ko"
    )
    return result


def test_modules_that_busybox_loads_are_unpacked(small: Small) -> None:
    write_root(small.directory, PART)
    ended = minbuild(*small.argv("plan", "small.yaml", "--json"), cwd=small.directory)
    assert ended.code == 0, ended.err
    assert "modules unpacked: 2, since BusyBox's modprobe reads no zstd" in ended.err
    rows = {row["path"]: row for row in json.loads(ended.out)["files"]}
    assert [path for path in rows if ".ko" in path] == [
        f"{TOP}/kernel/irqbypass.ko", f"{TOP}/kernel/kvm.ko",
    ]  # fmt: skip
    kvm = rows[f"{TOP}/kernel/kvm.ko"]
    assert (kvm["size"], kvm["package"]) == (
        len(read_plain_module("kvm")),
        "linux-image-6.1-cloud-amd64",
    )


def test_why_says_that_a_module_was_unpacked_and_by_what_name_the_package_has_it(
    small: Small,
) -> None:
    write_root(small.directory, PART)
    argv = small.argv("why", "small.yaml", f"{TOP}/kernel/irqbypass.ko")
    ended = minbuild(*argv, cwd=small.directory)
    assert ended.code == 0, ended.err
    output = "depends=irqbypass; irqbypass.ko.zst unpacked: BusyBox's modprobe reads no zstd]"
    assert output in ended.out


def test_modules_that_kmod_loads_stay_as_their_package_has_them(small: Small) -> None:
    write_root(small.directory, OTHER)
    ended = minbuild(*small.argv("plan", "small.yaml", "--json"), cwd=small.directory)
    assert ended.code == 0, ended.err
    assert "unpacked" not in ended.err
    result = [row["path"] for row in json.loads(ended.out)["files"] if ".ko" in row["path"]]
    assert result == [f"{TOP}/kernel/irqbypass.ko.zst", f"{TOP}/kernel/kvm.ko.zst"]


def test_a_trimmed_root_has_modules_and_their_index_as_busybox_reads_them(small: Small) -> None:
    root = write_root(small.directory, PART)
    ended = minbuild(*small.argv("trim", "root", "small.yaml", "-o", "out"), cwd=small.directory)
    assert ended.code == 0, ended.err
    assert {path for path in paths(root) if ".ko" in path} == {
        f"{TOP}/kernel/irqbypass.ko", f"{TOP}/kernel/kvm.ko",
    }  # fmt: skip
    assert (root / f"{TOP}/kernel/kvm.ko".lstrip("/")).read_bytes() == read_plain_module("kvm")
    index = (root / f"{TOP}/modules.dep".lstrip("/")).read_text(encoding="utf-8")
    assert index == "kernel/irqbypass.ko:\nkernel/kvm.ko: kernel/irqbypass.ko\n"


@pytest.mark.mirror
@pytest.mark.boot
@pytest.mark.long
def test_a_host_of_such_a_root_has_its_network_and_runs_a_guest(tmp_path: Path) -> None:
    root = make_zstd_root(tmp_path)
    text = "minbuild: 1\nname: packed\nextends: [host]\nimage: {compression: zstd}\n"
    (tmp_path / "packed.yaml").write_text(f"{text}budget: {{packed: 24 MB}}\n", encoding="utf-8")
    argv = ("--root", str(root), "--store", str(STORE))
    ended = minbuild("make", "packed.yaml", *argv, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "since BusyBox's modprobe reads no zstd" in ended.err
    booted = minbuild(
        "boot", "build/packed", "--direct", "--json", "--store", str(STORE), cwd=tmp_path
    )
    assert booted.code == 0, booted.out + booted.err
    states = {one["name"]: one["state"] for one in json.loads(booted.out)["probes"]}
    assert {states[name] for name in ("dhcp", "kvm", "guest")} == {"passed"}


def make_zstd_root(directory: Path) -> Path:
    """The host's packages as an installed root, its modules packed by zstd."""
    for argv in (("lock",), ("lock", "--fetch")):
        lock = ("host.yaml", "--lock", "host.lock", "--store", str(STORE))
        ended = minbuild(*argv, *lock, cwd=directory)
        assert ended.code == 0, ended.err
    top = directory / "root"
    for name in USRMERGED:
        (top / "usr" / name).mkdir(parents=True)
        (top / name).symlink_to(f"usr/{name}")
    for package in lockfile.read_lock(directory / "host.lock").packages:
        deb = Store(STORE).path(package.sha256)
        listed = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", str(deb)], check=True, capture_output=True
        )
        tar = ["tar", "-x", "--keep-directory-symlink", "-C", str(top)]
        subprocess.run(tar, check=True, input=listed.stdout)
    modules = list(top.glob("usr/lib/modules/**/*.ko.xz"))
    assert modules
    for module in modules:
        module.with_suffix(".zst").write_bytes(
            compress(lzma.decompress(module.read_bytes()), "zst")
        )
        module.unlink()
    return top
