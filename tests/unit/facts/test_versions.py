"""The order of versions, after the Version Format Specification's own examples."""

import random
from itertools import pairwise

import pytest
from debian.debian_support import Version

from minbuild.facts.versions import compare_versions, version_key

ORDERED = (
    ("122.1", "123~rc1-1", "123", "123-a", "123-a.1", "123-1", "123-1.1", "123^post1", "123.a-1",
     "123.1-1", "123a-1", "124-1"),
    ("6.9.1-t", "6.10.1-t"),
    ("6.1.0-9-amd64", "6.1.0-10-amd64"),
    ("6.12~rc1-amd64", "6.12.1-amd64"),
    ("5.14.0-70.el9", "5.14.0-162.6.1.el9", "5.14.0-427.el9"),
    ("6.8.0-9-generic", "6.8.0-31-generic"),
)  # fmt: skip


@pytest.mark.parametrize("names", ORDERED)
def test_the_specifications_order(names: tuple[str, ...]) -> None:
    assert all(compare_versions(one, other) < 0 for one, other in pairwise(names))
    backwards = list(reversed(names))
    assert sorted(backwards, key=version_key) == list(names)


def test_spaces_and_leading_zeros_say_nothing() -> None:
    assert compare_versions("1_2", "12") == 0
    assert compare_versions("1.02", "1.2") == 0
    assert compare_versions("", "") == 0


def test_releases_of_numbers_are_ordered_as_dpkg_orders_them() -> None:
    chance = random.Random(14)
    names = [
        ".".join(str(chance.randrange(12)) for _ in range(3)) + f"-{chance.randrange(30)}"
        for _ in range(200)
    ]
    ours = sorted(names, key=version_key)
    assert [Version(name) for name in ours] == sorted(map(Version, names))
