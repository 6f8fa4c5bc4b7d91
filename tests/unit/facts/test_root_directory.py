"""A directory is read whatever its names are, and however deep they lie."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minbuild.formats.root_entry import FileType
from minbuild.paths import unescape_name
from minbuild.roots.directory import Directory
from tests.support.tars import NAMES

DEEP = "d" * 200


@contextmanager
def inside(place: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)


def test_a_path_longer_than_a_system_call_takes_is_read(tmp_path: Path) -> None:
    with inside(tmp_path):
        for number in range(30):
            name = f"{DEEP}{number:02}"
            Path(name).mkdir()
            os.chdir(name)
        Path("end").write_bytes(b"read")
        Path("l").symlink_to("end")
        os.link("end", "other")
    source = Directory(tmp_path)
    found = {one.native_path.rpartition("/")[2]: one for one in source.walk()}
    assert len(found) == 33
    end = found["end"]
    assert len(end.native_path) > 6000
    assert (source.read(end.native_path), bytes(source.view(end.native_path))) == (b"read", b"read")
    assert list(source.read_heads([end.native_path], 2)) == [(end.native_path, b"re")]
    assert (found["l"].kind, found["l"].target) == (FileType.LINK, "end")
    assert (found["other"].kind, found["other"].target) == (FileType.HARDLINK, end.native_path)


def test_names_of_any_bytes_are_told_apart_and_given_back(tmp_path: Path) -> None:
    names = {name for name in NAMES if b"/" not in name} | {
        b"\xff\n\xfe",
        b"\\x5c",
        b"\xed\xb3\xa9",
    }
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    found = list(Directory(tmp_path).walk())
    assert {unescape_name(one.path[1:]) for one in found} == names
    assert len({one.path for one in found}) == len(names)
    assert all(one.path.encode() for one in found)
