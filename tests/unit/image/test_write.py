import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.errors import ToolError
from minbuild.formats.initramfs import unpack_members
from minbuild.formats.uki import read_uki, read_uki_sections
from minbuild.formats.xen_image import strip_xen
from minbuild.image.initramfs_segments import pack_initramfs
from minbuild.image.publish import open_outputs
from minbuild.image.write import (
    FORMATS,
    ImageSpec,
    add_prerequisites,
    list_format_tools,
    write_images,
)
from minbuild.manifest.image_settings import Compression, ImageFormat
from minbuild.manifest.shipped_manifests import load_tools
from minbuild.paths import RootPath
from minbuild.progress import SilentProgress
from minbuild.roots.boot_disk import read_disk_boot
from tests.support.xen import xen_efi
from tests.unit.image.trees import KERNEL, file, tree
from tests.unit.toolbox.real import toolbox

USUAL = (ImageFormat.UKI, ImageFormat.RAW)


def order(store: Store, *, formats: tuple[ImageFormat, ...] = USUAL) -> ImageSpec:
    stub = toolbox().find_path(RootPath("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")).read_bytes()
    return ImageSpec(
        name="host",
        arch="amd64",
        # a PE file, as every kernel is
        tree=tree(file(KERNEL, stub, store=store), file("/init", b"#!/bin/sh\n", 0o755, store)),
        cmdline="console=ttyS0 quiet",
        osrel=b"ID=minbuild\n",
        formats=formats,
        compression=Compression.XZ,
        seed="a lock",
    )


def written(directory: Path, store: Store, spec: ImageSpec) -> list[str]:
    """The names of what is published: the images of a spec, and footprint.json with their sizes."""
    progress = SilentProgress()
    segments = pack_initramfs(
        spec.tree, store, toolbox(), spec.compression, arch=spec.arch, progress=progress
    )
    with open_outputs(directory) as outputs:
        images = write_images(spec, segments, outputs, store, toolbox(), progress)
        assert images.initramfs_size == sum(segment.size for segment in segments)
        outputs.add("footprint.json", json.dumps(dict(images.image_sizes)))
        return [path.name for path in outputs.publish()]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.mark.mirror
def test_a_host_is_written_with_what_stands_beside_it(store: Store, tmp_path: Path) -> None:
    names = written(tmp_path / "out", store, order(store))
    assert names == ["footprint.json", "host.efi", "host.raw", "SHA256SUMS"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    for line in (tmp_path / "out/SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
    sizes = json.loads((tmp_path / "out/footprint.json").read_text())
    assert sizes == {
        name: (tmp_path / f"out/host.{name}").stat().st_size for name in ("efi", "raw")
    }


@pytest.mark.mirror
def test_the_uki_holds_each_part_as_it_was_given(store: Store, tmp_path: Path) -> None:
    spec = order(store)
    written(tmp_path / "out", store, spec)
    found = read_uki_sections((tmp_path / "out/host.efi").read_bytes(), "host.efi")
    assert found[".cmdline"].rstrip(b"\0") == b"console=ttyS0 quiet"
    assert found[".osrel"].rstrip(b"\0") == b"ID=minbuild\n"
    assert found[".uname"].rstrip(b"\0") == b"1"
    kernel = next(node.sha256 for node in spec.tree.nodes if node.path == KERNEL)
    assert hashlib.sha256(found[".linux"]).hexdigest() == kernel


@pytest.mark.mirror
def test_only_the_formats_that_are_asked_for_are_published(store: Store, tmp_path: Path) -> None:
    names = written(tmp_path / "out", store, order(store, formats=(ImageFormat.RAW,)))
    assert names == ["footprint.json", "host.raw", "SHA256SUMS"]
    assert "efi" in json.loads((tmp_path / "out/footprint.json").read_text())


@pytest.mark.mirror
def test_the_same_bytes_whatever_surrounds_the_build(tmp_path: Path) -> None:
    sums = []
    for n, (mask, zone) in enumerate([(0o022, "UTC"), (0o077, "Asia/Kolkata")]):
        place = tmp_path / f"number {n}"
        script = f"""
import os
from pathlib import Path
from minbuild.manifest.image_settings import ImageFormat
from minbuild.cache.store import Store
from tests.unit.image.test_write import order, written
os.umask({mask})
store = Store(Path({str(place)!r}) / "store")
written(Path({str(place)!r}) / "out", store, order(store, formats=tuple(ImageFormat)))
"""
        changed = {"TZ": zone, "LC_ALL": "C", "PYTHONHASHSEED": str(n), "HOME": str(place)}
        environment = {**os.environ, **changed}
        subprocess.run([sys.executable, "-c", script], check=True, env=environment)
        sums.append((place / "out/SHA256SUMS").read_text())
    assert sums[0] == sums[1]


@pytest.mark.mirror
def test_a_failed_build_publishes_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/host.efi").write_bytes(b"former")
    broken = order(store)
    store.discard(next(node.sha256 for node in broken.tree.nodes if node.path == KERNEL))
    with pytest.raises(ToolError):
        written(tmp_path / "out", store, broken)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["host.efi"]
    assert (tmp_path / "out/host.efi").read_bytes() == b"former"


def test_a_format_comes_after_those_it_needs() -> None:
    assert add_prerequisites((ImageFormat.RAW,)) == (ImageFormat.UKI, ImageFormat.RAW)
    assert set(FORMATS) == set(ImageFormat)


def test_every_tool_that_a_build_starts_is_in_the_toolbox() -> None:
    known = {tool.name for tool in load_tools()}
    for how in Compression:
        assert set(list_format_tools(tuple(ImageFormat), how)) <= known
    assert list_format_tools((ImageFormat.UKI,), Compression.NONE) == ("ukify",)


XEN = RootPath("/boot/xen-4.20-amd64.efi")


def xen_order(store: Store, *, formats: tuple[ImageFormat, ...] = USUAL) -> ImageSpec:
    spec = order(store, formats=formats)
    xen = file(XEN, strip_xen(xen_efi(), XEN), store=store)
    with_xen = tree(*(node for node in spec.tree.nodes if node.path != "/boot"), xen)
    return replace(
        spec, tree=replace(with_xen, hypervisor_image=XEN), xen_cmdline="console=com1 dom0_mem=256M"
    )


def test_a_host_with_xen_is_xens_unified_image(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    written(tmp_path / "out", store, xen_order(store))
    uki = read_uki((tmp_path / "out" / "host.efi").read_bytes(), "host.efi")
    assert uki.xen == strip_xen(xen_efi(), XEN)
    assert uki.cmdlines == ("console=ttyS0 quiet",)
    assert uki.xen_cmdlines == ("console=com1 dom0_mem=256M",)
    members = unpack_members(uki.initrd)
    assert "init" in members
    assert not any(path.startswith("boot/") for path in members)
    disk = (tmp_path / "out" / "host.raw").read_bytes()
    assert read_disk_boot(disk, "host.raw").uki == (tmp_path / "out" / "host.efi").read_bytes()


def test_xens_image_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for name in ("one", "two"):
        written(tmp_path / name, store, xen_order(store, formats=(ImageFormat.UKI,)))
    assert (tmp_path / "one/host.efi").read_bytes() == (tmp_path / "two/host.efi").read_bytes()
