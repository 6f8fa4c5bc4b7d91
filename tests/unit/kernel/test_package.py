"""A compiled kernel as a package: read by our own reader, and by dpkg-deb."""

import io
import shutil
import subprocess
from pathlib import Path

import pytest

from minbuild.formats.deb import open_deb
from minbuild.kernel.model import CompiledKernel
from minbuild.kernel.package import render_package

KERNEL = CompiledKernel("6.12.7", b"image", b"CONFIG_NET=y\n", b"kernel/a.ko\n", b"", ("main.c",))
FIELDS = {"Package": "linux-source-6.12", "Version": "6.12.7-1", "Architecture": "all"}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "kernel.deb"
    path.write_bytes(render_package(KERNEL, FIELDS, b"GPL-2\n", 0))
    return path


def test_our_reader_finds_every_file(package: Path) -> None:
    with open_deb(package, str(package)) as deb:
        assert deb.read_control()["package"] == "linux-source-6.12"
        names = [header.name.strip("./") for header in deb.open_data()]
    assert [name for name in names if "." in name or "copyright" in name] == [
        "boot/config-6.12.7",
        "boot/vmlinuz-6.12.7",
        "usr/lib/modules/6.12.7",
        "usr/lib/modules/6.12.7/modules.builtin",
        "usr/lib/modules/6.12.7/modules.builtin.modinfo",
        "usr/lib/modules/6.12.7/modules.order",
        "usr/share/doc/linux-source-6.12",
        "usr/share/doc/linux-source-6.12/copyright",
        "usr/share/minbuild/kernel/sources-6.12.7",
    ]


def test_equal_kernels_give_equal_bytes() -> None:
    first, second = (render_package(KERNEL, FIELDS, b"GPL-2\n", 0) for _ in range(2))
    assert io.BytesIO(first).read() == second


@pytest.mark.oracle
@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb")
def test_dpkg_deb_unpacks_it(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path / "root")], check=True)
    assert (tmp_path / "root/boot/vmlinuz-6.12.7").read_bytes() == b"image"
