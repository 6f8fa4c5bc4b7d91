"""The shipped host is minimal: without any file that no component names, its proof fails."""

import os
from pathlib import Path

import pytest

from minbuild.build.life import plan
from minbuild.build.request import Doors, Request
from minbuild.manifest.find import manifest_file
from tests.support.trees import needless

pytestmark = [pytest.mark.mirror]


def test_no_file_of_the_host_is_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Path(os.environ.get("MINBUILD_TEST_STORE") or tmp_path / "store")
    ground = plan(Request(manifest_file("host.yaml")), Doors(store)).ground
    manifest = ground.manifest
    spare = needless(
        ground.closure, ground.files, arch=manifest.arch, drop=manifest.drop,
        allow_missing=manifest.allow_missing, dlopen=manifest.dlopen,
    )  # fmt: skip
    assert list(spare) == []
