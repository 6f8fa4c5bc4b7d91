"""A tar is laid down as it unpacks: names lead to inodes, whatever becomes of the names later."""

import base64
import gzip
import resource
import struct
from pathlib import Path

import pytest

from minbuild.errors import MalformedFile, ToolError
from minbuild.formats.region import Region
from minbuild.formats.root_entry import FileType
from minbuild.formats.tar_members import MAX_EXTENDED_HEADER, read_tar_members
from minbuild.paths import RootPath
from minbuild.roots.root_packages import RootPackages
from minbuild.roots.tarball import Tarball
from minbuild.roots.unpacked_tree import UnpackedTree
from tests.support.tars import SPARSE, Row, content, header, pad, pax_header, tar

CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


def opened(data: bytes, tmp_path: Path) -> Tarball:
    place = tmp_path / "root.tar"
    place.write_bytes(data)
    return Tarball(place, tmp_path)


def rows(source: Tarball) -> list[tuple[str, str, int, str, bytes]]:
    return [
        (
            one.native_path,
            str(one.kind),
            one.mode,
            one.target,
            source.read(one.native_path) if one.size else b"",
        )
        for one in source.walk()
    ]


def test_a_hard_link_keeps_what_it_named(tmp_path: Path) -> None:
    data = tar(
        Row(b"tool", body=b"old"), Row(b"b", "1", target=b"tool"), Row(b"tool", body=b"new one")
    )
    assert rows(opened(data, tmp_path)) == [
        ("b", "file", 0o644, "", b"old"),
        ("tool", "file", 0o644, "", b"new one"),
    ]


def test_a_hard_link_to_a_link_is_that_link(tmp_path: Path) -> None:
    data = tar(Row(b"l", "2", target=b"a"), Row(b"m", "1", target=b"l"), Row(b"a", body=b"x"))
    found = rows(opened(data, tmp_path))
    assert [row[:2] for row in found] == [("a", "file"), ("l", "link"), ("m", "link")]


def test_the_bytes_of_a_file_with_several_names_are_counted_once(tmp_path: Path) -> None:
    data = tar(Row(b"z", body=b"x" * 9), Row(b"a", "1", target=b"z"), Row(b"m", "1", target=b"a"))
    found = list(opened(data, tmp_path).walk())
    assert [(one.native_path, one.kind, one.target) for one in found] == [
        ("a", FileType.FILE, ""), ("m", FileType.HARDLINK, "a"), ("z", FileType.HARDLINK, "a"),
    ]  # fmt: skip


@pytest.mark.parametrize("form", SPARSE)
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 26, 40])
def test_a_sparse_file_has_its_holes(tmp_path: Path, form: str, count: int) -> None:
    extents = [(4096 * (2 * at + 1), bytes([at + 1]) * 512) for at in range(count)]
    row = Row(b"log", form="pax", sparse=form, extents=extents, size=4096 * 100 + 7)
    assert rows(opened(tar(row, Row(b"z", body=b"end")), tmp_path)) == [
        ("log", "file", 0o644, "", content(row)),
        ("z", "file", 0o644, "", b"end"),
    ]


@pytest.mark.parametrize(
    "extents", [[(0, b"a" * 1024), (512, b"b" * 512)], [(8192, b"x" * 512)], [(0, b"a" * 5), (512, b"b")]]
)  # fmt: skip
@pytest.mark.parametrize("form", SPARSE)
def test_a_sparse_map_that_readers_see_differently_is_refused(
    tmp_path: Path, form: str, extents: list[tuple[int, bytes]]
) -> None:
    with pytest.raises(ToolError, match="sparse file's stretches"):
        opened(tar(Row(b"a", form="pax", sparse=form, extents=extents, size=8000)), tmp_path)


@pytest.mark.parametrize(
    "record",
    [
        (b"SCHILY.xattr.security.capability", CAPABILITY),
        (b"LIBARCHIVE.xattr.security.capability", base64.b64encode(CAPABILITY).rstrip(b"=")),
        (b"LIBARCHIVE.xattr.security%2Ecapability", base64.b64encode(CAPABILITY)),
    ],
)
@pytest.mark.parametrize("kind", ["x", "g"])
def test_capabilities_are_seen_by_every_key(
    tmp_path: Path, record: tuple[bytes, bytes], kind: str
) -> None:
    data = pax_header(kind, [record]) + tar(Row(b"ping", body=b"x"))
    (found,) = opened(data, tmp_path).walk()
    assert found.capability == CAPABILITY


def test_devices_and_modes_are_told_as_they_are(tmp_path: Path) -> None:
    data = tar(
        Row(b"dev/", "5", mode=0o2777), Row(b"dev/mem", "3", mode=0o666, device=(1, 1)),
        Row(b"dev/sda", "4", mode=0o660, device=(8, 0)), Row(b"dev/p", "6", mode=0o4777),
    )  # fmt: skip
    found = opened(data, tmp_path).walk()
    assert [(one.native_path, str(one.kind), one.mode, one.target) for one in found] == [
        ("dev", "directory", 0o2777, ""), ("dev/mem", "other", 0o666, "c 1:1"),
        ("dev/p", "other", 0o4777, ""), ("dev/sda", "other", 0o660, "b 8:0"),
    ]  # fmt: skip


LONG = pax_header("x", [(b"path", b"a" * 200)])
PLAIN = tar(Row(b"a", body=b"x"))
BAD = {
    "no member": b"",
    "cut in a header": PLAIN[:300],
    "cut in a file": tar(Row(b"a", body=b"x" * 600))[:1100],
    "cut behind an extended header": LONG,
    "checksum": b"b" + PLAIN[1:],
    "checksum later": PLAIN[:1024] + b"b" + PLAIN[1:],
    "lone zeros": PLAIN[:1024] + bytes(512) + PLAIN,
    "unknown type": tar(Row(b"a", "Q")),
    "another volume": tar(Row(b"a", "M")),
    "leads out": tar(Row(b"a/../../b", body=b"x")),
    "a hard link to nothing": tar(Row(b"a", "1", target=b"b")),
    "a hard link to a directory": tar(Row(b"d/", "5"), Row(b"a", "1", target=b"d")),
    "a link with content": tar(Row(b"a", "2", target=b"b", body=b"x")),
    "a directory with content": tar(Row(b"a/", "5", body=b"x")),
    "a file that is a directory's name": tar(Row(b"a/", "0", body=b"x")),
    "the top is a file": tar(Row(b"./", "2", target=b"x")),
    "through a file": tar(Row(b"a", body=b"x"), Row(b"a/b", body=b"x")),
    "through a link that leads out": tar(Row(b"a", "2", target=b"../x"), Row(b"a/b", body=b"x")),
    "over a full directory": tar(Row(b"a/b", body=b"x"), Row(b"a", body=b"x")),
    "two extended headers": pax_header("x", [(b"path", b"b")]) + LONG + PLAIN,
    "two names": LONG + tar(Row(b"n" * 150, body=b"", form="gnu")),
    "one name for all": pax_header("g", [(b"path", b"b")]) + PLAIN,
    "one size for all": pax_header("g", [(b"size", b"0")]) + PLAIN,
    "half a record": header(Row(b"x", "x"), b"x", b"", 9) + pad(b"99 path=b") + PLAIN,
    "a size that is none": pax_header("x", [(b"size", b"-1")]) + PLAIN,
    "a size beyond all": pax_header("x", [(b"size", b"9" * 18)]) + PLAIN,
    "a NUL in a name": pax_header("x", [(b"path", b"a\0b")]) + PLAIN,
    "a component of 256": tar(Row(b"a" * 256, form="pax")),
    "a name of 40,000": tar(Row(b"/".join([b"a" * 99] * 400) + b"/", "5", form="gnu")),
    "a text of 4,097": tar(Row(b"a", "2", target=b"a" * 4097, form="gnu")),
    "sparse in two ways": pax_header("x", [(b"GNU.sparse.size", b"9")]) + tar(Row(b"a", "S")),
    "two capabilities": tar(
        Row(b"a", pax=[(b"SCHILY.xattr.security.capability", b"x"),
                       (b"LIBARCHIVE.xattr.security.capability", b"eQ==")], form="pax")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_two_readers_could_take_for_two_things_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ToolError, match="root cannot be used"):
        opened(BAD[name], tmp_path)


def test_a_bomb_in_a_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    bomb = header(Row(b"x", "x"), b"x", b"", 3 << 30) + bytes(1 << 26)
    place = tmp_path / "bomb.tar.gz"
    place.write_bytes(gzip.compress(bomb, 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ToolError, match=f"the limit is {MAX_EXTENDED_HEADER}"):
        Tarball(place, tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10


def test_names_that_imply_too_many_directories_are_refused(tmp_path: Path) -> None:
    deep = b"/".join([b"a"] * 2040)
    data = tar(*(Row(b"%d/" % number + deep + b"/", "5", form="gnu") for number in range(10)))
    place = tmp_path / "deep.tar"
    place.write_bytes(data)
    archive = Region.from_path(place)
    assert len(list(unpacked(archive, UnpackedTree()).walk())) == 20410
    with pytest.raises(MalformedFile, match="more than 20000 paths"):
        unpacked(archive, UnpackedTree(max_paths=20000))


def unpacked(archive: Region, system: UnpackedTree) -> UnpackedTree:
    for member in read_tar_members(archive):
        system.add(member, archive)
    return system


def test_of_two_files_that_merging_brings_together_one_is_told_as_hidden(tmp_path: Path) -> None:
    data = tar(
        Row(b"bin/a", body=b"one"), Row(b"bin/l", "2", target=b"../etc/x"), Row(b"etc/x", body=b"x"),
        Row(b"usr/bin/a", body=b"two"), Row(b"usr/bin/h", "1", target=b"usr/bin/a"),
        Row(b"usr/bin/i", "1", target=b"usr/bin/h"),
    )  # fmt: skip
    offer = RootPackages(opened(data, tmp_path))
    assert [(hidden.native_path, taken.native_path) for hidden, taken in offer.hidden_files] == [
        ("usr/bin/a", "bin/a")
    ]
    (files,) = offer.files
    assert offer.read_content(RootPath("/usr/bin/a")) == b"one"
    assert (
        offer.read_content(RootPath("/usr/bin/h"))
        == offer.read_content(RootPath("/usr/bin/i"))
        == b"two"
    )
    assert files.entries[RootPath("/usr/bin/h")].kind is FileType.FILE
    assert files.entries[RootPath("/usr/bin/i")].target == "/usr/bin/h"
    assert files.entries[RootPath("/usr/bin/l")].target == "/etc/x"
