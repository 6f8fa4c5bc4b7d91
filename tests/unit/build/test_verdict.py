"""Budgets."""

from dataclasses import replace

import pytest

from minbuild.build.verdict import judge, limits
from minbuild.errors import Verdict
from minbuild.manifest.types import Budget
from tests.support.footprints import MANIFEST, tiny


def test_what_keeps_to_every_limit_is_accepted() -> None:
    exact = Budget(files=4, bytes=1_703_100, packed=1_305_007)
    judge(replace(MANIFEST, budget=exact), tiny().totals)


def test_every_limit_that_is_exceeded_is_named() -> None:
    tight = replace(MANIFEST, budget=Budget(files=3, packed=1_305_006))
    with pytest.raises(Verdict) as caught:
        judge(tight, tiny().totals)
    said = [one.what for one in (caught.value, *caught.value.others)]
    assert said == [
        "over budget: files 4, the limit is 3",
        "over budget: packed 1,305,007, the limit is 1,305,006",
    ]
    assert caught.value.exit_code == 1


def test_without_a_budget_there_are_no_limits() -> None:
    assert limits(Budget(), tiny().totals) == []
