import contextlib
import lzma
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.errors import MinbuildError, ToolError
from minbuild.formats import initramfs
from minbuild.image import tar_cpio
from minbuild.rootfs.model import RootfsNode
from tests.oracle import cpios
from tests.unit.image.trees import directory, file, hard, link

CONTENTS = {
    node.sha256: data
    for node, data in ((file("/x", data), data) for data in (b"", b"a", b"four", b"long" * 99))
}
NODES = (
    directory("/usr"),
    directory("/usr/bin"),
    file("/usr/bin/su", b"four", 0o4755),
    hard("/usr/bin/su-again", "/usr/bin/su", 0o4755),
    link("/usr/bin/sh", "busybox"),
    file("/usr/empty", b""),
    file("/usr/name-of-odd-length", b"a"),
)


def written(nodes: tuple[RootfsNode, ...] = NODES) -> bytes:
    return tar_cpio.encode_cpio(nodes, CONTENTS.__getitem__)


def test_what_is_written_reads_back() -> None:
    found = initramfs.unpack_members(written())
    assert list(found) == sorted(node.path[1:] for node in NODES)
    su = found["usr/bin/su"]
    assert (su.mode, su.uid, su.gid, su.content) == (0o104755, 0, 0, b"four")
    assert found["usr/bin/sh"].content == b"busybox"
    assert found["usr/bin/sh"].mode == 0o120777
    assert found["usr"].mode == 0o40755


def test_hard_links_share_an_inode_and_one_content() -> None:
    found = initramfs.unpack_members(written())
    one, two = found["usr/bin/su"], found["usr/bin/su-again"]
    assert one.inode == two.inode
    assert (one.links, two.links) == (2, 2)
    assert (one.content, two.content) == (b"four", b"four")
    others = [m.inode for m in found.values() if m.path not in (one.path, two.path)]
    assert len(set(others)) == len(others)


def test_a_hard_link_that_comes_before_its_file_has_the_content() -> None:
    nodes = (hard("/a", "/b"), file("/b", b"four"))
    found = initramfs.unpack_members(written(nodes))
    assert found["a"].content == b"four"
    assert found["b"].content == b"four"


def test_the_size_is_known_before_it_is_written() -> None:
    assert tar_cpio.compute_cpio_size(NODES) == len(written())
    assert tar_cpio.compute_cpio_size(()) == len(written(()))


def test_times_and_devices_are_zero() -> None:
    head = written()[:110]
    assert head == b"070701" + b"".join(
        b"%08x" % number for number in (1, 0o40755, 0, 0, 2, 0, 0, 0, 0, 0, 0, 4, 0)
    )


@pytest.mark.oracle
@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_gnu_cpio_unpacks_it(tmp_path: Path) -> None:
    subprocess.run(["cpio", "-id", "--quiet"], input=written(), cwd=tmp_path, check=True)
    assert (tmp_path / "usr/bin/su-again").read_bytes() == b"four"
    assert (tmp_path / "usr/bin/su").samefile(tmp_path / "usr/bin/su-again")
    assert (tmp_path / "usr/bin/sh").readlink() == Path("busybox")


def test_archives_follow_each_other_with_padding_between() -> None:
    second = tar_cpio.encode_cpio((file("/usr/empty", b"long" * 99),), CONTENTS.__getitem__)
    found = initramfs.unpack_members(written() + bytes(512) + second)
    assert found["usr/empty"].content == b"long" * 99


def test_an_archive_at_an_odd_place_is_an_error() -> None:
    with pytest.raises(ToolError, match="odd place"):
        initramfs.unpack_members(b"\0" + written())


def test_a_bomb_is_not_unpacked() -> None:
    import zlib

    import zstandard

    data = bytes(8 << 20)
    for packed in (
        lzma.compress(data, check=lzma.CHECK_CRC32),
        zlib.compress(data, wbits=31),
        zstandard.compress(data),
    ):
        with pytest.raises(ToolError, match="more than can be believed"):
            initramfs.unpack_members(packed, limit=1 << 20)


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_empty(data: bytes) -> None:
    with contextlib.suppress(MinbuildError):
        initramfs.unpack_members(data)


@given(st.data())
def test_damaged_archives_give_errors_and_nothing_else(data: st.DataObject) -> None:
    whole = written() + lzma.compress(written(), check=lzma.CHECK_CRC32)
    bad = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(bad) - 1))
        bad[at] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.integers(0, len(bad)))
    with contextlib.suppress(MinbuildError):
        initramfs.unpack_members(bytes(bad[:cut]))


@pytest.mark.parametrize("title", list(cpios.stopping_archives()))
def test_what_the_kernel_stops_at_is_an_error(title: str) -> None:
    with pytest.raises(ToolError):
        initramfs.unpack_members(cpios.stopping_archives()[title], machine=0x8664)


def test_a_filter_is_undone_by_the_machine_that_has_it() -> None:
    filters: list[dict[str, object]] = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2}]
    data = lzma.compress(written(), check=lzma.CHECK_CRC32, filters=filters)
    assert (
        initramfs.unpack_members(data, machine=0x8664).keys()
        == initramfs.unpack_members(data).keys()
    )
    with pytest.raises(ToolError, match="no xz with such a filter"):
        initramfs.unpack_members(data, machine=0xAA64)
