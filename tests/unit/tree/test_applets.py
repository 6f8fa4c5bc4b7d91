"""What a BusyBox binary holds."""

import pytest

from minbuild.errors import ResolveError
from minbuild.manifest.types import Name, Where
from minbuild.tree.applets import applets, check

BINARY = b"\x7fELF...\0[\0[[\0ash\0mount\0udhcpc\0\0more strings\0"


def test_the_table_of_applets_is_read() -> None:
    assert applets(BINARY) == {"[", "[[", "ash", "mount", "udhcpc"}


def test_a_binary_without_the_table_has_no_applets() -> None:
    assert applets(b"\x7fELF nothing here") == frozenset()


def test_every_applet_that_is_not_there_is_named_with_its_place_and_the_nearest() -> None:
    wanted = [
        Name("udhcp", Where("dhcp.yaml", 4, 11)),
        Name("mount", Where("ext4.yaml", 2, 11)),
        Name("zzz", Where("x.yaml", 1, 1)),
    ]
    with pytest.raises(ResolveError) as caught:
        check(wanted, applets(BINARY))
    found = [caught.value, *caught.value.others]
    assert [(one.what, one.where) for one in found] == [
        ("this BusyBox has no applet udhcp", "dhcp.yaml:4:11"),
        ("this BusyBox has no applet zzz", "x.yaml:1:1"),
    ]
    assert caught.value.fix == "did you mean udhcpc?"
