"""Checks of a disk's layout, each problem with its place."""

import jsonschema
import pytest

from minbuild.manifest.grammar import build_json_schema
from tests.unit.manifest.conftest import Desk

_BAD = {
    "no ESP": ("image: {disk: {partitions: [{type: fat, size: 8 MiB}]}}", "host.yaml:3:29 (image.disk.partitions[0])", "no partition is the ESP", "write type: esp for exactly one, which the firmware reads"),
    "a partition without a size": ("image: {disk: {partitions: [{type: esp}, {type: ext4}]}}", "host.yaml:3:42 (image.disk.partitions[1])", "the partition has no size", "give this partition a size, or the disk: image.disk.size"),
    "a rest that is not the last": ("image: {disk: {size: 1 GiB, partitions: [{type: ext4}, {type: esp}]}}", "host.yaml:3:42 (image.disk.partitions[0])", "a partition takes the rest of the disk, and others follow", "give it a size, or put it last"),
    "a partition of odd size": ("image: {disk: {partitions: [{type: esp, size: 20 MB}]}}", "host.yaml:3:29 (image.disk.partitions[0])", "the size 20000000 is not a multiple of 1 MiB", "write it in MiB: size: 64 MiB"),
    "a long label": ("image: {disk: {partitions: [{type: esp, label: minbuild-data}]}}", "host.yaml:3:29 (image.disk.partitions[0])", "the label 'minbuild-data' has 13 characters; esp takes 11", "shorten it"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "where", "what", "fix"), _BAD.values(), ids=_BAD.keys())
def test_an_impossible_disk_is_an_error_with_its_place(
    desk: Desk, text: str, where: str, what: str, fix: str
) -> None:
    assert desk.problems(text + "\n") == [(where, what, fix)]


def test_the_former_name_of_a_partitions_type_is_read(desk: Desk) -> None:
    disks = [
        desk.load(f"image: {{disk: {{partitions: [{{{key}: esp, size: 64 MiB}}]}}}}\n").image.disk
        for key in ("holds", "type")
    ]
    assert [partition.type for disk in disks for partition in disk.partitions] == ["esp", "esp"]


def test_a_partition_with_both_names_is_an_error_with_both_lines(desk: Desk) -> None:
    text = "image:\n  disk:\n    partitions:\n      - type: esp\n        holds: fat\n"
    (where, message, fix) = desk.problems(text)[0]
    assert where == "host.yaml:7:9 (image.disk.partitions[0].holds)"
    assert message == "holds on line 7 is the former name of type, which is on line 6"
    assert fix == "remove holds"


def test_a_partition_is_removed_by_either_name(desk: Desk) -> None:
    desk.write(
        {
            "base.yaml": "minbuild: 1\nkernel: {package: linux-image-amd64}\nimage: {disk: {size: 1 GiB, "
            "partitions: [{holds: esp, size: 64 MiB}, {holds: ext4}]}}\n"
        }
    )
    manifest = desk.load(
        "extends: [base.yaml]\nimage: {disk: {partitions: {remove: [{type: ext4}]}}}\n"
    )
    assert [partition.type for partition in manifest.image.disk.partitions] == ["esp"]


@pytest.mark.parametrize(
    ("partition", "valid"),
    [({"type": "esp"}, True), ({"holds": "esp"}, True), ({"type": "esp", "holds": "esp"}, False), ({}, False)],
)  # fmt: skip
def test_the_schema_takes_one_of_both_names(partition: dict[str, str], valid: bool) -> None:
    document = {"minbuild": 1, "image": {"disk": {"partitions": [partition]}}}
    assert jsonschema.Draft202012Validator(build_json_schema()).is_valid(document) is valid
