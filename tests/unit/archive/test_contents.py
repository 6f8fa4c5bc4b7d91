"""Which package has a path, by the archive's lists of files."""

import gzip
from pathlib import Path

import pytest

from minbuild.archive import lockfile
from minbuild.archive.contents import (
    Contents,
    ContentsIndexFile,
    decompress_lines,
    encode_contents,
    open_contents,
)
from minbuild.archive.model import Lock
from minbuild.errors import ArchiveError
from minbuild.explain.providers import find_command_packages, suggest_providers
from minbuild.paths import RootPath
from minbuild.resolve.model import ScriptWarning
from tests.unit.archive.conftest import World

MAIN = """\
bin/old                                                 admin/old
usr/bin/python3                                         python/python3-minimal
usr/lib/firmware/free.bin                               firmware-free
usr/lib/modules/6.1-amd64/kernel/net/e1000e.ko.xz       kernel/linux-image-6.1-amd64
usr/lib/x86_64-linux-gnu/libz.so.1                      libs/zlib1g,libs/zlib-ng
usr/share/doc/python3/README                            python/python3
usr/share/with blank/a  b                               misc/blank
"""
FIRMWARE = """\
usr/lib/firmware/amd/amd_sev_fam17h_model0xh.sbin       non-free-firmware/admin/amd64-microcode
usr/lib/firmware/amd/amd_sev_fam19h_model0xh.sbin       non-free-firmware/admin/amd64-microcode
usr/lib/firmware/foo.bin.xz                             non-free-firmware/kernel/firmware-misc
"""
LISTS = {
    "main/Contents-amd64": MAIN,
    "non-free-firmware/Contents-all": FIRMWARE,
    "main/Contents-arm64": "usr/bin/x  a/arm\n",
}


def contents(world: World, *, offline: bool = False) -> Contents:
    index = world.open(offline=offline)
    return open_contents(
        index, "amd64", world.mirror, world.store, offline=offline, progress=world.progress
    )


def owners(found: Contents, *patterns: str) -> list[tuple[str, str]]:
    return [(one.package, one.component) for one in found.find_owners(*patterns)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/usr/bin/python3", [("python3-minimal", "main")]),
        ("/usr/bin/old", [("old", "main")]),
        ("/usr/lib/x86_64-linux-gnu/libz.so.1", [("zlib-ng", "main"), ("zlib1g", "main")]),
        ("/usr/lib/*/libz.so.1", [("zlib-ng", "main"), ("zlib1g", "main")]),
        ("/usr/lib/firmware/amd/amd_sev_fam17h_*.sbin", [("amd64-microcode", "non-free-firmware")]),
        ("/usr/lib/firmware/foo.bin.xz", [("firmware-misc", "non-free-firmware")]),
        ("/usr/lib/modules/*/e1000e.ko*", [("linux-image-6.1-amd64", "main")]),
        ("/usr/share/with blank/a  b", [("blank", "main")]),
        ("/usr/share/doc/python3/README", []),
        ("/usr/bin/x", []),
        ("/usr/lib/firmware/amd", []),
    ],
)
def test_the_packages_of_a_path_or_glob_are_found(
    pattern: str, expected: list[tuple[str, str]], world: World
) -> None:
    world.archive.publish("trixie", "Package: hello\n", lists=LISTS)
    found = contents(world)
    assert owners(found, pattern) == expected
    assert (found.unknown, found.is_signed) == ((), True)


def test_what_is_kept_is_not_fetched_again_and_serves_offline(world: World) -> None:
    world.archive.publish("trixie", "Package: hello\n", lists=LISTS)
    contents(world)
    before = len(world.server.requests)
    assert owners(contents(world, offline=True), "/usr/bin/python3") == [
        ("python3-minimal", "main")
    ]
    again = contents(world)
    assert owners(again, "/usr/bin/python3") == [("python3-minimal", "main")]
    assert not [one for one in world.server.requests[before:] if "Contents" in one]


def test_offline_without_lists_says_what_is_not_known(world: World) -> None:
    world.archive.publish("trixie", "Package: hello\n", lists=LISTS)
    world.open()
    found = contents(world, offline=True)
    assert owners(found, "/usr/bin/python3") == []
    assert found.unknown == ("--offline, and the store lacks the Contents files of the archive",)


def test_a_list_that_is_not_the_signed_one_is_marked(world: World) -> None:
    world.archive.publish("trixie", "Package: hello\n", lists=LISTS)
    place = world.archive.directory / "debian/dists/trixie/non-free-firmware/Contents-all.gz"
    place.write_bytes(gzip.compress(b"usr/lib/firmware/bar  x/firmware-old\n"))
    found = contents(world)
    (owner,) = found.find_owners("/usr/lib/firmware/bar")
    assert (owner.package, owner.signed, found.is_signed) == ("firmware-old", False, False)
    (owner,) = found.find_owners("/usr/bin/python3")
    assert owner.signed


def test_a_list_that_nobody_has_is_said(world: World) -> None:
    world.archive.publish("trixie", "Package: hello\n", lists=LISTS)
    (world.archive.directory / "debian/dists/trixie/main/Contents-amd64.gz").unlink()
    found = contents(world)
    assert owners(found, "/usr/lib/firmware/foo.bin.xz") == [("firmware-misc", "non-free-firmware")]
    assert len(found.unknown) == 1
    assert "Contents file of trixie/main" in found.unknown[0]


def test_many_lines_stand_in_blocks(tmp_path: Path) -> None:
    lines = "".join(f"usr/lib/d{n % 7}/file{n:05}  s/p{n % 50}\n" for n in range(20_000))
    small = ContentsIndexFile(encode_contents(decompress_lines(gzip.compress(lines.encode()), "x")))
    assert list(small.find_matches("/usr/lib/d3/file00010")) == [
        ("/usr/lib/d3/file00010", ("p10",))
    ]
    assert len(list(small.find_matches("/usr/lib/d3/*"))) == 2857
    assert len(list(small.find_matches("/usr/lib/*/file0001*"))) == 10
    assert list(small.find_matches("/usr/lib/d3/zzz")) == []
    assert list(ContentsIndexFile(encode_contents(iter([b""]))).find_matches("/usr/bin/*")) == []


@pytest.mark.parametrize("data", [b"no gzip", b"\x1f\x8b\x08\0" + bytes(40)])
def test_a_damaged_list_is_an_error(data: bytes) -> None:
    with pytest.raises(ArchiveError, match="cannot decompress"):
        encode_contents(decompress_lines(data, "x"))


def test_a_list_that_is_cut_off_has_the_lines_before() -> None:
    whole = gzip.compress(b"usr/bin/x  a/b\n" * 3)
    assert encode_contents(decompress_lines(whole[:-10], "x"))
    assert encode_contents(decompress_lines(b"", "x"))


def test_a_list_of_several_members_is_read_whole() -> None:
    parts = (gzip.compress(f"usr/bin/x{n}  a/b\n".encode()) for n in range(3))
    small = ContentsIndexFile(encode_contents(decompress_lines(b"".join(parts), "x")))
    assert len(list(small.find_matches("/usr/bin/*"))) == 3


def test_what_is_kept_says_who_has_a_command_or_a_path(world: World, tmp_path: Path) -> None:
    world.archive.publish("trixie", "Package: hello\n", lists=LISTS)
    cautions = [
        ScriptWarning(RootPath("/x"), 1, f'command "{name}" is not in the image')
        for name in ("python3", "nobody", "/usr/bin/old")
    ]
    suites = world.open().suites
    assert find_command_packages(cautions, suites, "amd64", world.store) == {}
    contents(world)
    found = find_command_packages(cautions, suites, "amd64", world.store)
    assert found == {"python3": "python3-minimal"}
    lockfile.write_lock(tmp_path / "host.lock", Lock("amd64", suites, (), ()))
    path = RootPath("/usr/lib/firmware/foo.bin.xz")
    assert suggest_providers(path, tmp_path / "host.lock", world.store) == (
        f"the package firmware-misc, in non-free-firmware of trixie, holds {path}",
    )
