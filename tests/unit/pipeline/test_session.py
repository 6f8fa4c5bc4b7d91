"""Where a lock lies, and the digest of our own code."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.data import data_directory
from minbuild.manifest.shipped_manifests import find_manifest
from minbuild.pipeline import session as session_module
from minbuild.pipeline.session import (
    BuildRequest,
    digest_source_code,
    locate_lock,
    read_lock_size,
)
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


def write_code(top: Path, text: str) -> Path:
    """A directory with two modules."""
    (top / "part").mkdir(parents=True)
    (top / "__init__.py").write_text("")
    (top / "part" / "step.py").write_text(text)
    return top


def test_the_same_code_elsewhere_and_of_another_time_has_the_same_digest(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = write_code(tmp_path / "a", "X = 1\n")
    second = write_code(tmp_path / "b", "X = 1\n")
    os.utime(second / "part" / "step.py", (1, 1))
    digest = digest_source_code(store, first)
    assert digest_source_code(Store(tmp_path / "other"), second) == digest
    assert digest_source_code(store, write_code(tmp_path / "c", "X = 2\n")) != digest


def test_code_that_is_not_touched_is_not_read_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    top = write_code(tmp_path / "a", "X = 1\n")
    digest = digest_source_code(store, top)
    ((_, kept),) = store.get_all(RecordKind.SOURCE_CODE).items()
    assert kept == digest.encode()
    session_module._digest_source_contents.cache_clear()
    (top / "part" / "step.py").unlink()  # its stamps are known: the record alone may answer
    assert digest_source_code(store, top) == digest
