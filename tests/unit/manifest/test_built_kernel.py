"""A manifest whose kernel is built: what it asks for, and what comes without being asked."""

from pathlib import Path

import pytest

from minbuild.data import data_directory
from minbuild.errors import ManifestError
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Manifest

BUILT = ("kernel/base", "kernel/mitigations", "kernel/self-protection")


def _read(tmp_path: Path, kernel: str) -> Manifest:
    path = tmp_path / "rack.yaml"
    path.write_text(f"minbuild: 1\nextends: [host]\nkernel: {kernel}\n")
    return read_manifest(path, settings={}, components=())


def _names(manifest: Manifest) -> list[str]:
    return [component.name for component in manifest.components]


def test_the_source_takes_the_place_of_the_package(tmp_path: Path) -> None:
    kernel = _read(tmp_path, "{build: linux-source-6.12}").kernel
    assert (kernel.package, kernel.is_built) == ("linux-source-6.12", True)


def test_a_packaged_kernel_gets_no_options(tmp_path: Path) -> None:
    manifest = _read(tmp_path, "{cmdline: [quiet]}")
    assert not manifest.kernel.is_built
    assert not {*BUILT} & {*_names(manifest)}


def test_protection_is_part_of_every_built_kernel(tmp_path: Path) -> None:
    assert {*BUILT} <= {*_names(_read(tmp_path, "{build: linux-source-6.12}"))}


def test_protection_is_left_out_when_the_manifest_says_so(tmp_path: Path) -> None:
    names = _names(_read(tmp_path, "{build: linux-source-6.12, protection: false}"))
    assert {*BUILT} & {*names} == {"kernel/base"}


def test_options_of_the_manifest_are_its_own_components(tmp_path: Path) -> None:
    manifest = _read(tmp_path, "{build: linux-source-6.12, options: [NR_CPUS=64, MITIGATION_*]}")
    (own,) = (one for one in manifest.components if one.name == "kernel/manifest")
    assert [name.text for name in own.kernel_options] == ["NR_CPUS=64", "MITIGATION_*"]
    assert own.kernel_options[0].where.line == 3


@pytest.mark.parametrize("option", ["CONFIG_NET", "'NET = y'", "'NET=\"y\"'"])
def test_an_option_in_another_form_is_an_error(tmp_path: Path, option: str) -> None:
    with pytest.raises(ManifestError, match="not a setting of a kernel option"):
        _read(tmp_path, f"{{build: linux-source-6.12, options: [{option}]}}")


def test_the_shipped_one_is_the_host_with_another_kernel() -> None:
    shipped = data_directory("manifests")
    tiny, host = (
        read_manifest(shipped / f"{name}.yaml", settings={}, components=())
        for name in ("tiny", "host")
    )
    assert {*_names(tiny)} - {*_names(host)} == {*BUILT, "kernel/manifest"}
    assert {*_names(host)} <= {*_names(tiny)}
