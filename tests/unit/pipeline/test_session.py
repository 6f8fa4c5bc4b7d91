"""Where a lock lies."""

from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.data import data_directory
from minbuild.manifest.shipped_manifests import find_manifest
from minbuild.pipeline.session import BuildRequest, locate_lock, read_lock_size
from tests.support.footprints import MANIFEST

HOST = replace(MANIFEST, name="host")


def test_a_lock_lies_beside_its_manifest(tmp_path: Path) -> None:
    assert locate_lock(BuildRequest(tmp_path / "rack.yaml"), HOST) == tmp_path / "rack.lock"
    assert locate_lock(BuildRequest(Path("rack.yaml")), HOST) == Path("rack.lock")


def test_the_lock_of_a_shipped_manifest_found_by_name_is_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate_lock(BuildRequest(find_manifest("host.yaml")), HOST) == Path("host.lock")


def test_the_lock_of_a_shipped_manifest_named_by_its_path_is_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(data_directory("manifests").parent)
    request = BuildRequest(find_manifest("manifests/host.yaml"))
    assert locate_lock(request, HOST) == Path("manifests/host.lock")


def test_a_combination_has_a_lock_of_its_own_and_an_option_wins(tmp_path: Path) -> None:
    request = BuildRequest(tmp_path / "rack.yaml", cell="trixie")
    assert locate_lock(request, replace(MANIFEST, name="rack-trixie")).name == "rack-trixie.lock"
    named = replace(request, lock=tmp_path / "my.lock")
    assert locate_lock(named, HOST) == tmp_path / "my.lock"


def test_a_longer_lock_means_more_work_and_none_that_nobody_knows(tmp_path: Path) -> None:
    for name, size in (("small", 10), ("large", 20), ("rack-trixie", 30)):
        (tmp_path / f"{name}.lock").write_bytes(bytes(size))
    requests = [BuildRequest(tmp_path / f"{name}.yaml") for name in ("small", "large", "new")]
    requests.append(BuildRequest(tmp_path / "rack.yaml", cell="trixie"))
    assert [read_lock_size(request) for request in requests] == [10, 20, 0, 30]
