"""Reading packages: what is kept of them, and what is refused."""

import contextlib
import gzip
import lzma
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minbuild.cache.store import Store
from minbuild.errors import ArchiveError
from minbuild.facts.model import FileEntry
from minbuild.facts.package_analysis import analyse_package
from minbuild.facts.package_facts import load_facts
from minbuild.facts.serialize import decode_files
from minbuild.formats.deb import open_deb, parse_alternatives
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath
from minbuild.progress import SilentProgress
from tests.support import deb as made
from tests.unit.facts.packages import files, keep_bytes, members

SOUND = """
    Package: sound
    Version: 2:1.0-1
    Depends: libc6 (>= 2.34), default-mta | mail-transport-agent
    Pre-Depends: init-system-helpers:any
    Provides: sound-api (= 1), other
    /usr/bin/su    4755 root:0:42 file "hello"
    /bin/sh        -> ../usr/bin/su
    /usr/bin/again = /usr/bin/su
    /lib/x/y       file ""
"""


@pytest.mark.parametrize("compression", ["", "gz", "xz", "zst"])
def test_a_package_is_read_in_every_compression(tmp_path: Path, compression: str) -> None:
    found = files(tmp_path, f"{SOUND}\nCompression: {compression}" if compression else SOUND)
    assert found.owner == "sound"
    assert found.version == "2:1.0-1"
    assert found.depends == (
        ("init-system-helpers",),
        ("libc6",),
        ("default-mta", "mail-transport-agent"),
    )
    assert found.provides == ("sound-api", "other")
    assert [str(path) for path in found.entries] == sorted(
        [
            "/usr",
            "/usr/bin",
            "/usr/bin/again",
            "/usr/bin/sh",
            "/usr/bin/su",
            "/usr/lib",
            "/usr/lib/x",
            "/usr/lib/x/y",
        ]
    )


def test_modes_owners_links_and_digests_are_kept(tmp_path: Path) -> None:
    entries = files(tmp_path, SOUND).entries
    hello = made.sha256(b"hello")
    su = RootPath("/usr/bin/su")
    assert entries[su] == FileEntry(su, FileType.FILE, 0o4755, 0, 42, 5, hello)
    again = RootPath("/usr/bin/again")
    assert entries[again] == FileEntry(again, FileType.HARDLINK, 0o4755, 0, 42, 5, hello, str(su))
    sh = RootPath("/usr/bin/sh")
    assert entries[sh] == FileEntry(sh, FileType.LINK, 0o777, target="../usr/bin/su")
    x = RootPath("/usr/lib/x")
    assert entries[x] == FileEntry(x, FileType.DIRECTORY, 0o755)


def test_the_facts_of_a_hard_link_are_those_of_its_file(tmp_path: Path) -> None:
    found = files(tmp_path, 'Package: one\n/a file "#!/bin/sh"\n/b = /a')
    assert found.facts(RootPath("/b")) == found.facts(RootPath("/a")) is not None


def test_a_name_longer_than_a_header_is_read(tmp_path: Path) -> None:
    path = RootPath("/usr/" + "/".join("d" * 50 for _ in range(6)))
    target = "t" * 300
    found = files(tmp_path, f"Package: long\n{path} file x\n/link -> {target}")
    assert found.entries[path].size == 1
    assert found.entries[RootPath("/link")].target == target


def test_alternatives_are_names_only() -> None:
    assert parse_alternatives("a (>= 1) [amd64] <!nocheck>, b:any|c ,") == (("a",), ("b", "c"))
    assert parse_alternatives("") == ()


Member = made.Member
HOSTILE = {
    "leads out": [Member("./usr/../../etc/passwd", data=b"x")],
    "absolute": [Member("/etc/passwd", data=b"x")],
    "character device": [Member("./null", tarfile.CHRTYPE, device=(1, 3))],
    "block device": [Member("./disk", tarfile.BLKTYPE, device=(8, 0))],
    "FIFO": [Member("./fifo", tarfile.FIFOTYPE)],
    "two members": [Member("./a", data=b"1"), Member("./a", data=b"2")],
    "two members of one name": [Member("./bin/a", data=b"1"), Member("./usr/bin/a", data=b"2")],
    "control characters": [Member("./new\nline")],
    "control characters: ": [Member("./escape\x1b[31m")],
    "not UTF-8": [Member("./\udcff")],
    "below /a, which is no directory": [
        Member("./a", tarfile.SYMTYPE, target="/etc"),
        Member("./a/passwd", data=b"x"),
    ],
    "what is no file of it": [Member("./a", tarfile.LNKTYPE, target="./etc/shadow")],
    "name that leads out": [Member("./a", tarfile.LNKTYPE, target="../../etc/shadow")],
    "link to nothing": [Member("./a", tarfile.SYMTYPE)],
    "top is not a directory": [Member(".", tarfile.SYMTYPE, target="/")],
    "link with content": [Member("./a", tarfile.SYMTYPE, target="b", data=b"c")],
}


@pytest.mark.parametrize("reason", HOSTILE)
def test_a_hostile_member_is_refused(tmp_path: Path, reason: str) -> None:
    store = Store(tmp_path)
    package = keep_bytes(store, "bad", members(HOSTILE[reason]))
    with pytest.raises(ArchiveError) as caught:
        load_facts([package], store, SilentProgress())
    assert reason.strip(": ") in caught.value.what
    assert caught.value.where == "bad 1.0 (amd64)"
    assert caught.value.fix
    assert "\n" not in caught.value.what
    assert "\x1b" not in caught.value.what


def test_a_link_out_of_the_root_is_only_text(tmp_path: Path) -> None:
    found = files(tmp_path, "Package: one\n/a -> ../../../etc/passwd")
    assert found.entries[RootPath("/a")].target == "../../../etc/passwd"


def test_pax_headers_without_end_are_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("./x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 33
    said = refused(tmp_path, data=("data.tar", header.tobuf(tarfile.GNU_FORMAT)))
    assert "a pax header of 8589934592 bytes" in said


@pytest.mark.parametrize("ending", ["xz", "gz", "zst"])
def test_a_bomb_is_refused(tmp_path: Path, ending: str) -> None:
    zeros = bytes(96 << 20)
    header = tarfile.TarInfo("./zeros")
    header.size = len(zeros)
    bomb = made.compress(header.tobuf(tarfile.GNU_FORMAT) + zeros, ending)
    assert "unpacks to more than" in refused(tmp_path, data=(f"data.tar.{ending}", bomb))


def test_a_name_without_end_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    said = refused(tmp_path, data=("data.tar", header.tobuf(tarfile.GNU_FORMAT)))
    assert "a name of 8589934592 bytes" in said


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        ([], "no ar archive"),
        ([("data.tar", b"")], "first member"),
        ([("debian-binary", b"3.0\n")], "not version 2"),
        ([("debian-binary", b"2.0\n")], "no control.tar"),
        ([("debian-binary", b"2.0\n"), ("data.tar", b"")], "where control.tar should be"),
        ([("debian-binary", b"2.0\n"), ("control.tar.7z", b"")], "compressed in a way"),
        ([("debian-binary", b"2.0\n"), ("control.tar", made.tar([]))], "no control file"),
    ],
)
def test_a_package_without_its_parts_is_refused(
    tmp_path: Path, archive: list[tuple[str, bytes]], reason: str
) -> None:
    data = made.ar(archive) if archive else b"<html>not found</html>"
    assert reason in refused(tmp_path, whole=data)


def test_a_second_data_member_is_nobodys(tmp_path: Path) -> None:
    """Source: deb(5): what follows data.tar is ignored."""
    evil = made.tar([Member("./evil")])
    whole = members([Member("./a")]) + made.ar([("data.tar", evil)]).removeprefix(b"!<arch>\n")
    (found,) = load_facts(
        [keep_bytes(Store(tmp_path), "bad", whole)], Store(tmp_path), SilentProgress()
    )
    assert list(found.entries) == ["/a"]


def test_members_with_an_underscore_are_ignored(tmp_path: Path) -> None:
    whole = members([Member("./a")]) + made.ar([("_gpgorigin", b"x")]).removeprefix(b"!<arch>\n")
    store = Store(tmp_path)
    (found,) = load_facts([keep_bytes(store, "bad", whole)], store, SilentProgress())
    assert list(found.entries) == ["/a"]


@pytest.mark.parametrize("ending", ["", "xz", "gz", "zst"])
def test_a_truncated_package_is_refused_wherever_it_ends(tmp_path: Path, ending: str) -> None:
    (deb,) = made.parse(SOUND)
    data = made.build(made.Deb("one", members=deb.members, compression=ending))
    path = tmp_path / "one.deb"
    for end in range(0, len(data) - 1, max(1, len(data) // 200)):
        path.write_bytes(data[:end])
        if end < len(data) - 600:
            with pytest.raises(ArchiveError):
                analyse_package(path, "one")


def refused(tmp_path: Path, *, data: tuple[str, bytes] | None = None, whole: bytes = b"") -> str:
    """What is said of a package with this data member, or of these bytes."""
    if data is not None:
        control = made.tar([Member("./control", data=made.Deb("bad").control.encode())])
        whole = made.ar([("debian-binary", b"2.0\n"), ("control.tar", control), data])
    path = tmp_path / "bad.deb"
    path.write_bytes(whole)
    with pytest.raises(ArchiveError) as caught:
        analyse_package(path, "bad")
    return caught.value.what


def test_several_streams_are_read_where_dpkg_reads_them_all(tmp_path: Path) -> None:
    tar = made.tar([Member("./a", data=b"x" * 5000)])
    half = len(tar) // 2
    parts = {
        "xz": lzma.compress(tar[:half]) + bytes(4) + lzma.compress(tar[half:]),
        "gz": gzip.compress(tar[:half]) + gzip.compress(tar[half:]),
        "zst": zstandard.compress(tar[:half]) + zstandard.compress(tar[half:]),
    }
    control = made.tar([Member("./control", data=made.Deb("one").control.encode())])
    for ending, data in parts.items():
        path = tmp_path / ending
        path.write_bytes(
            made.ar(
                [
                    ("debian-binary", b"2.0\n"),
                    ("control.tar", control),
                    (f"data.tar.{ending}", data),
                ]
            )
        )
        if ending == "gz":
            _, entries = decode_files(analyse_package(path, "one").files)
            assert entries[RootPath("/a")].size == 5000
        else:
            with pytest.raises(ArchiveError, match="it has a second"):
                analyse_package(path, "one")


def test_a_package_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError), open_deb(tmp_path / "none.deb", "none"):
        pass


(_DEB,) = made.parse(SOUND)
PLAIN = made.build(made.Deb("one", members=_DEB.members, compression=""))
PACKED = made.build(made.Deb("one", members=_DEB.members, compression="xz"))


@given(
    data=st.sampled_from([PLAIN, PACKED]),
    changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4),
    end=st.integers(0, 1 << 16),
)
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_only_our_errors_come_out_of_damaged_packages(
    tmp_path: Path, data: bytes, changes: list[tuple[int, int]], end: int
) -> None:
    damaged = bytearray(data[: len(data) - end] if end < len(data) else data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    path = tmp_path / "one.deb"
    path.write_bytes(damaged)
    with contextlib.suppress(ArchiveError):
        analyse_package(path, "one")
