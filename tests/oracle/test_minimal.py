"""The shipped hosts are minimal: without any file that no component names, their proof fails."""

from pathlib import Path

import pytest

from minbuild.manifest.shipped_manifests import find_manifest, list_shipped
from minbuild.pipeline.build import plan_build
from minbuild.pipeline.package_selection import PackageSource
from minbuild.pipeline.session import BuildRequest
from minbuild.resolve.policy import ResolvePolicy
from tests.oracle.trees import WHOLE
from tests.support.trees import find_needless

pytestmark = [pytest.mark.oracle, pytest.mark.mirror]


@pytest.mark.parametrize("name", list_shipped() if WHOLE else ["host"])
def test_no_file_of_a_host_is_too_much(
    name: str, package_source: PackageSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = plan_build(
        BuildRequest(find_manifest(f"{name}.yaml")), package_source.session
    ).resolved
    manifest = workspace.manifest
    spare = find_needless(
        workspace.closure, workspace.files, arch=manifest.arch,
        policy=ResolvePolicy(manifest.drop, manifest.allow_missing, manifest.dlopen),
    )  # fmt: skip
    assert list(spare) == []
    print(f"{name}: {len(workspace.closure.files)} paths, none of them too much")
