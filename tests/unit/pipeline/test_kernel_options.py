"""What the components of a host ask of a kernel that is built: by option, by module, by compression."""

from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.errors import ResolveError
from minbuild.kconfig.tree import OptionTree
from minbuild.kernel.model import ARCHITECTURES
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import LocatedName, Location, Manifest
from minbuild.pipeline.kernel_options import list_module_requests, list_option_requests

AMD64 = ARCHITECTURES["amd64"]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "wire.yaml").write_text(
        "summary: a wire\nkconfig: [INET]\nkernel-options: [NR_CPUS=8]\nmodules: [virtio-net]\n"
    )
    path = tmp_path / "rack.yaml"
    path.write_text(
        "minbuild: 1\nkernel: {build: linux-source-6.12, protection: false}\nnetwork: {use: [wire]}\n"
        "image: {compression: zstd}\n"
    )
    return read_manifest(path, settings={}, components=(tmp_path,))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "linux"
    (top / "drivers" / "net").mkdir(parents=True)
    (top / "drivers" / "net" / "Makefile").write_text(
        "obj-$(CONFIG_GUEST) += virtio_net.o\nobj-$(CONFIG_VIRTIO_NET) += virtio_net.o\n"
    )
    (top / "Kconfig").write_text('config GUEST\n\tbool "g"\nconfig VIRTIO_NET\n\ttristate "v"\n')
    return top


def _tree(source: Path) -> OptionTree:
    return OptionTree(source, {}, lambda command: "")


def test_options_are_asked_for_by_their_component(manifest: Manifest) -> None:
    asked = {(one.by, one.name, one.value) for one in list_option_requests(manifest)}
    assert {("network/wire", "INET", "y"), ("network/wire", "NR_CPUS", "8")} <= asked
    assert {("image", "BLK_DEV_INITRD", "y"), ("image", "RD_ZSTD", "y")} <= asked
    assert ("kernel/base", "SMP", "y") in asked


def test_a_module_asks_for_the_option_that_can_be_one(manifest: Manifest, source: Path) -> None:
    (request,) = list_module_requests(manifest, source, AMD64, _tree(source))
    assert (request.by, request.name, request.value) == ("network/wire", "VIRTIO_NET", "y")
    assert request.evidence.endswith("module virtio-net")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such", "built by no option of this kernel"),
        ("pci:v00001AF4d*", "named by alias, path or glob"),
    ],
)
def test_a_module_without_an_option_is_an_error_in_words(
    manifest: Manifest, source: Path, name: str, reason: str
) -> None:
    wire = next(one for one in manifest.components if one.name == "network/wire")
    changed = replace(wire, modules=(LocatedName(name, Location("wire.yaml", 4, 11)),))
    with pytest.raises(ResolveError, match=reason) as caught:
        list_module_requests(replace(manifest, components=(changed,)), source, AMD64, _tree(source))
    assert caught.value.where == "wire.yaml:4:11"
