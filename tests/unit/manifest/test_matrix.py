"""One manifest as many."""

from pathlib import Path

import pytest

from minbuild.errors import ManifestError
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.matrix import list_combinations

BASE = """\
minbuild: 1
name: rack
kernel: {package: linux-image-cloud-amd64}
services: {use: [logging]}
"""


def write(directory: Path, matrix: str) -> Path:
    path = directory / "rack.yaml"
    path.write_text(BASE + matrix)
    return path


def test_every_combination_has_a_name(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "matrix: {suite: [trixie, sid], arch: [amd64, arm64], components: {a: [boot/init]}}\n",
    )
    assert list_combinations(path) == (
        "trixie-amd64-a", "trixie-arm64-a", "sid-amd64-a", "sid-arm64-a",
    )  # fmt: skip


def test_a_manifest_without_a_matrix_has_no_combinations(tmp_path: Path) -> None:
    assert list_combinations(write(tmp_path, "")) == ()


def test_a_combination_is_a_host_of_its_own(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "matrix: {suite: [bookworm, sid], arch: [arm64], components: {t: [network/tcp]}}\n",
    )
    host = read_manifest(path, settings={}, components=(), variant="bookworm-arm64-t")
    assert (host.name, host.arch) == ("rack-bookworm-arm64-t", "arm64")
    assert host.archive.suites == ("bookworm", "bookworm-updates", "bookworm-security")
    assert {"network/tcp", "services/logging"} <= {one.name for one in host.components}
    assert read_manifest(
        path, settings={}, components=(), variant="sid-arm64-t"
    ).archive.suites == ("sid",)


def test_without_a_combination_the_manifest_stands_as_it_is(tmp_path: Path) -> None:
    host = read_manifest(write(tmp_path, "matrix: {suite: [sid]}\n"), settings={}, components=())
    assert (host.name, host.archive.suites[0]) == ("rack", "trixie")


def test_a_matrix_is_not_inherited(tmp_path: Path) -> None:
    write(tmp_path, "matrix: {suite: [sid]}\n")
    other = tmp_path / "other.yaml"
    other.write_text("minbuild: 1\nextends: [rack.yaml]\n")
    assert list_combinations(other) == ()


def test_an_unknown_combination_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, "matrix: {suite: [sid, trixie]}\n")
    with pytest.raises(ManifestError, match="no combination trixi") as caught:
        read_manifest(path, settings={}, components=(), variant="trixi")
    assert "trixie" in caught.value.fix


@pytest.mark.parametrize(
    ("matrix", "place"),
    [
        ("matrix: {suites: [sid]}\n", "rack.yaml:5:10"),
        ("matrix: {arch: [amd46]}\n", "rack.yaml:5:17"),
        ("matrix: {components: {a: [tcp]}}\n", "rack.yaml:5:27"),
    ],
)
def test_a_mistake_in_a_matrix_is_named_with_its_place(
    tmp_path: Path, matrix: str, place: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(write(tmp_path, matrix), settings={}, components=())
    assert place in caught.value.where


def test_a_suite_of_a_matrix_sets_the_variable_as_set_does(tmp_path: Path) -> None:
    path = tmp_path / "rack.yaml"
    path.write_text(
        "minbuild: 1\nname: rack\nextends: [host]\nmatrix: {suite: [trixie, forky, bookworm]}\n"
    )
    for suite in ("trixie", "forky", "bookworm"):
        cell = read_manifest(path, settings={}, components=(), variant=suite)
        given = read_manifest(path, settings={"suite": suite}, components=())
        assert cell.variables["suite"] == suite
        assert cell.archive == given.archive
        assert cell.budget.totals == given.budget.totals
    assert not read_manifest(
        path, settings={}, components=(), variant="forky"
    ).archive.check_valid_until


def test_a_setting_against_the_cells_suite_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rack.yaml"
    path.write_text("minbuild: 1\nname: rack\nextends: [host]\nmatrix: {suite: [trixie, forky]}\n")
    read_manifest(path, settings={"suite": "forky"}, components=(), variant="forky")
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, settings={"suite": "trixie"}, components=(), variant="forky")
    assert caught.value.where == "--set suite=trixie"
    assert caught.value.fix == "remove it, or build the combination with trixie"
