"""What a disk's layout must keep to, told with its place."""

import pytest

from tests.unit.manifest.conftest import Desk

_BAD = {
    "no ESP": ("image: {disk: {partitions: [{holds: fat, size: 8 MiB}]}}", "host.yaml:3:29 (image.disk.partitions[0])", "no partition is the ESP", "write holds: esp for exactly one, which the firmware reads"),
    "a partition without a size": ("image: {disk: {partitions: [{holds: esp}, {holds: ext4}]}}", "host.yaml:3:43 (image.disk.partitions[1])", "nothing says how large the partition is", "give this partition a size, or the disk: image.disk.size"),
    "a rest that is not the last": ("image: {disk: {size: 1 GiB, partitions: [{holds: ext4}, {holds: esp}]}}", "host.yaml:3:42 (image.disk.partitions[0])", "a partition takes the rest of the disk, and others follow", "give it a size, or put it last"),
    "a partition of odd size": ("image: {disk: {partitions: [{holds: esp, size: 20 MB}]}}", "host.yaml:3:29 (image.disk.partitions[0])", "the size 20000000 is no multiple of 1 MiB", "write it in MiB: size: 64 MiB"),
    "a long label": ("image: {disk: {partitions: [{holds: esp, label: minbuild-data}]}}", "host.yaml:3:29 (image.disk.partitions[0])", "the label 'minbuild-data' has 13 characters; esp takes 11", "shorten it"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "where", "what", "fix"), _BAD.values(), ids=_BAD.keys())
def test_a_disk_that_cannot_be_is_told_with_its_place(
    desk: Desk, text: str, where: str, what: str, fix: str
) -> None:
    assert desk.problems(text + "\n") == [(where, what, fix)]
