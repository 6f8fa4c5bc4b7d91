import pytest

from minbuild.image.initramfs_segments import (
    BIG_FILE,
    MAX_GROUP,
    ContentClass,
    build_packer_args,
    classify_content,
    compute_xz_dictionary_size,
    split_into_groups,
)
from minbuild.manifest.image_settings import Compression
from minbuild.rootfs.model import RootfsNode, RootfsTree
from tests.unit.image.trees import KERNEL, file, hard, link, program, tree

X86, KO = program(64, 1), program(64, 1, kind=1)


def heads(*pairs: tuple[str, bytes]) -> tuple[list[RootfsNode], dict[str, bytes]]:
    nodes = [file(path, data) for path, data in pairs]
    return nodes, {node.sha256: data[:20] for node, (_, data) in zip(nodes, pairs, strict=True)}


def sized(node: RootfsNode, size: int) -> RootfsNode:
    fields = {name: getattr(node, name) for name in RootfsNode.__slots__} | {"size": size}
    return RootfsNode(**fields)


def paths(tree: RootfsTree, given: dict[str, bytes]) -> list[tuple[ContentClass, list[str]]]:
    return [
        (group.content_class, [node.path for node in group.nodes])
        for group in split_into_groups(tree, given.__getitem__, "amd64")
    ]


@pytest.mark.parametrize(
    ("start", "sort"),
    [
        (X86, ContentClass.CODE),
        (KO, ContentClass.DATA),
        (program(64, 1, machine=183), ContentClass.DATA),
        (b"\x7fELF", ContentClass.DATA),
        (b"\xfd7zXZ\0...", ContentClass.STORED),
        (b"\x28\xb5\x2f\xfd", ContentClass.STORED),
        (b"#!/bin/sh\n", ContentClass.DATA),
        (b"", ContentClass.DATA),
    ],
)
def test_the_first_bytes_tell_how_a_file_packs(start: bytes, sort: ContentClass) -> None:
    assert classify_content(start, "amd64") is sort


def test_directories_links_and_data_come_first() -> None:
    nodes, given = heads(
        ("/usr/bin/x", X86), ("/usr/m.ko.xz", b"\xfd7zXZ\0"), ("/etc/motd", b"hello")
    )
    made = paths(tree(*nodes, link("/bin", "usr/bin")), given)
    assert made == [
        (ContentClass.DATA, ["/bin", "/etc", "/etc/motd", "/usr", "/usr/bin"]),
        (ContentClass.STORED, ["/usr/m.ko.xz"]),
        (ContentClass.CODE, ["/usr/bin/x"]),
    ]


def test_the_kernel_is_not_in_the_initramfs() -> None:
    nodes, given = heads((KERNEL, b"MZ"))
    assert [path for _, found in paths(tree(*nodes), given) for path in found] == ["/boot"]


def test_hard_links_stay_with_their_file() -> None:
    nodes, given = heads(("/usr/bin/x", X86))
    made = paths(tree(*nodes, hard("/etc/x", "/usr/bin/x")), given)
    assert made[-1] == (ContentClass.CODE, ["/etc/x", "/usr/bin/x"])


def test_big_programs_stand_alone_and_small_ones_together() -> None:
    nodes, given = heads(*((f"/usr/bin/{n}", X86 + bytes([n])) for n in range(4)))
    sizes = (BIG_FILE, 1000, BIG_FILE - 1, BIG_FILE)
    made = paths(tree(*(sized(n, s) for n, s in zip(nodes, sizes, strict=True))), given)
    assert [found for sort, found in made if sort is ContentClass.CODE] == [
        ["/usr/bin/0"],
        ["/usr/bin/3"],
        ["/usr/bin/1", "/usr/bin/2"],
    ]


def test_a_group_of_small_programs_does_not_grow_without_end() -> None:
    nodes, given = heads(*((f"/usr/bin/{n:02}", X86 + bytes([n])) for n in range(12)))
    made = split_into_groups(
        tree(*(sized(n, BIG_FILE - 1) for n in nodes)), given.__getitem__, "amd64"
    )
    code = [group for group in made if group.content_class is ContentClass.CODE]
    assert len(code) == 3
    assert all(group.size <= MAX_GROUP for group in code)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [(1, 65536), (65536, 65536), (65537, 98304), (98305, 131072), (9 << 20, 12 << 20)],
)
def test_the_dictionary_is_the_least_that_holds_all(size: int, wanted: int) -> None:
    assert compute_xz_dictionary_size(size) == wanted


def test_settings_follow_from_what_is_packed() -> None:
    nodes, given = heads(("/usr/bin/x", X86), ("/usr/m.ko.xz", b"\xfd7zXZ\0"))
    data, stored, code = split_into_groups(tree(*nodes), given.__getitem__, "amd64")
    assert "--x86" in build_packer_args(code, 1000, Compression.XZ, "amd64")
    assert "--arm64" in build_packer_args(code, 1000, Compression.XZ, "arm64")
    assert "--x86" not in build_packer_args(data, 1000, Compression.XZ, "amd64")
    assert build_packer_args(stored, 1000, Compression.XZ, "amd64") == ()
    assert build_packer_args(code, 1000, Compression.NONE, "amd64") == ()
