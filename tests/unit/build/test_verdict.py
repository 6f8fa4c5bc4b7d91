"""Budgets."""

from dataclasses import replace

import pytest

from minbuild.build.verdict import judge, limits
from minbuild.errors import Verdict
from minbuild.manifest.limits import Budget, Limit, Limits
from minbuild.manifest.types import Compression
from minbuild.report.text import budget
from tests.support.footprints import HERE, MANIFEST, tiny


def limit(value: int) -> Limit:
    return Limit(value, HERE, is_size=False)


def test_what_keeps_to_every_limit_is_accepted() -> None:
    exact = Budget(Limits(limit(4), limit(1_703_100), limit(1_305_007)))
    judge(replace(MANIFEST, budget=exact), tiny().totals)


def test_every_limit_that_is_exceeded_is_named() -> None:
    tight = replace(MANIFEST, budget=Budget(Limits(files=limit(3), packed=limit(1_305_006))))
    with pytest.raises(Verdict) as caught:
        judge(tight, tiny().totals)
    said = [one.what for one in (caught.value, *caught.value.others)]
    assert said == [
        "over budget: files 4, the limit is 3",
        "over budget: packed 1,305,007, the limit is 1,305,006",
    ]
    assert caught.value.exit_code == 1


def test_without_a_budget_there_are_no_limits() -> None:
    assert limits(replace(MANIFEST, budget=Budget()), tiny().totals) == []


def test_a_packed_size_is_judged_as_the_manifest_packs() -> None:
    """A development build (--compression zstd) is larger than the release that the limit is for."""
    image = replace(
        MANIFEST.image, compression=Compression.ZSTD, instead_of=MANIFEST.image.compression
    )
    tight = Budget(Limits(packed=limit(1), bytes=limit(2_000_000)))
    manifest = replace(MANIFEST, image=image, budget=tight)
    judge(manifest, tiny().totals)
    rows = limits(manifest, tiny().totals)
    assert [(name, why) for name, _, _, why in rows] == [
        ("bytes", ""),
        ("packed", "it is for xz, and this is zstd"),
    ]
    assert "not judged: it is for xz" in " ".join(budget(rows).split())
    with pytest.raises(Verdict, match="over budget: files 4, the limit is 3"):
        judge(replace(manifest, budget=Budget(Limits(files=limit(3)))), tiny().totals)
