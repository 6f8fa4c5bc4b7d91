"""What a BusyBox binary holds."""

import pytest

from minbuild.errors import ResolveError
from minbuild.manifest.model import LocatedName, Location
from minbuild.rootfs.assemble import read_applets, require_applets

BINARY = b"\x7fELF...\0[\0[[\0ash\0mount\0udhcpc\0\0more strings\0"


def test_the_table_of_applets_is_read() -> None:
    assert read_applets(BINARY) == {"[", "[[", "ash", "mount", "udhcpc"}


def test_a_binary_without_the_table_has_no_applets() -> None:
    assert read_applets(b"\x7fELF nothing here") == frozenset()


def test_every_applet_that_is_not_there_is_named_with_its_place_and_the_nearest() -> None:
    wanted = [
        LocatedName("udhcp", Location("dhcp.yaml", 4, 11)),
        LocatedName("mount", Location("ext4.yaml", 2, 11)),
        LocatedName("zzz", Location("x.yaml", 1, 1)),
    ]
    with pytest.raises(ResolveError) as caught:
        require_applets(wanted, read_applets(BINARY))
    found = [caught.value, *caught.value.also]
    assert [(one.what, one.where) for one in found] == [
        ("this BusyBox has no applet udhcp", "dhcp.yaml:4:11"),
        ("this BusyBox has no applet zzz", "x.yaml:1:1"),
    ]
    assert caught.value.fix == "did you mean udhcpc?"
