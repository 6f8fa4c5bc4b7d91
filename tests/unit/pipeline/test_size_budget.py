"""Budgets."""

from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.data import data_directory
from minbuild.errors import CheckFailed
from minbuild.footprint.budget_check import check_manifest_limits
from minbuild.footprint.budget_result import RuleState
from minbuild.manifest.image_settings import Compression
from minbuild.manifest.limits import Budget, Limit, Limits
from minbuild.manifest.model import Location
from minbuild.pipeline.size_budget import check_size_budget
from minbuild.report.text import render_budget
from tests.support.footprints import HERE, MANIFEST, tiny


def limit(value: int) -> Limit:
    return Limit(value, HERE, is_size=False)


def test_what_keeps_to_every_limit_is_accepted() -> None:
    exact = Budget(Limits(limit(4), limit(1_703_100), limit(1_305_007)))
    check_size_budget(replace(MANIFEST, budget=exact), tiny().totals)


def test_every_limit_that_is_exceeded_is_named() -> None:
    tight = replace(MANIFEST, budget=Budget(Limits(files=limit(3), packed=limit(1_305_006))))
    with pytest.raises(CheckFailed) as caught:
        check_size_budget(tight, tiny().totals)
    said = [one.what for one in (caught.value, *caught.value.also)]
    assert said == [
        "over budget: files 4, the limit is 3",
        "over budget: packed 1,305,007, the limit is 1,305,006",
    ]
    assert caught.value.exit_code == 1


def test_without_a_budget_there_are_no_limits() -> None:
    assert check_manifest_limits(replace(MANIFEST, budget=Budget()), tiny().totals) == ()


def test_a_packed_size_is_judged_as_the_manifest_packs() -> None:
    """A development build (--compression zstd) is larger than the release that the limit is for."""
    image = replace(
        MANIFEST.image,
        compression=Compression.ZSTD,
        overridden_compression=MANIFEST.image.compression,
    )
    tight = Budget(Limits(packed=limit(1), bytes=limit(2_000_000)))
    manifest = replace(MANIFEST, image=image, budget=tight)
    check_size_budget(manifest, tiny().totals)
    results = check_manifest_limits(manifest, tiny().totals)
    assert [(result.rule, result.state) for result in results] == [
        ("budget.bytes", RuleState.PASSED),
        ("budget.packed", RuleState.SKIPPED),
    ]
    assert "not judged: it is for xz, and this is zstd" in " ".join(render_budget(results).split())
    with pytest.raises(CheckFailed, match="over budget: files 4, the limit is 3"):
        check_size_budget(replace(manifest, budget=Budget(Limits(files=limit(3)))), tiny().totals)


def test_a_limit_that_is_inherited_is_raised_in_the_manifest_itself(tmp_path: Path) -> None:
    base = Location(str(tmp_path / "base.yaml"), 3, 9)
    own = replace(MANIFEST, file=str(tmp_path / "mine.yaml"))
    tight = Limits(files=Limit(3, base, is_size=False), packed=Limit(1_000_000, base, is_size=True))
    with pytest.raises(CheckFailed) as caught:
        check_size_budget(replace(own, budget=Budget(tight)), tiny().totals)
    errors = (caught.value, *caught.value.also)
    line = f"write budget: {{files: 4, packed: 1.4 MB}} in {tmp_path}/mine.yaml"
    assert all(one.fix.endswith(line) for one in errors)
    assert errors[0].where == f"mine.yaml (budget.files, set by {tmp_path}/base.yaml:3)"
    # what is written so is kept
    raised = Limits(files=limit(4), packed=limit(1_400_000))
    check_size_budget(replace(own, budget=Budget(raised)), tiny().totals)


def test_no_path_of_the_installation_is_told_for_a_shipped_limit() -> None:
    shipped_host = data_directory("manifests") / "host.yaml"
    where = Location(str(shipped_host), 30, 10)
    tight = Budget(Limits(files=Limit(3, where, is_size=False)))
    for file, fix in {
        "mine.yaml": "write budget: {files: 4} in mine.yaml",
        str(shipped_host): "write a manifest with extends: [host] and budget: {files: 4}",
    }.items():
        with pytest.raises(CheckFailed) as caught:
            check_size_budget(replace(MANIFEST, file=file, budget=tight), tiny().totals)
        assert caught.value.fix.endswith(fix)
        assert str(shipped_host) not in caught.value.where + caught.value.fix
