"""Roots on btrfs, made by mkfs.btrfs: what is counted is what the tree holds."""

import contextlib
import os
import random
import shutil
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from mmap import ACCESS_COPY, mmap
from pathlib import Path

import pytest
from zstandard import ZstdCompressor

from minbuild.errors import MinbuildError
from minbuild.formats.btrfs import Btrfs
from minbuild.formats.filesystem import Volume
from minbuild.formats.root_entry import FileType
from tests.support.disks import Part, gpt
from tests.support.measured_inputs import measure_input
from tests.unit.toolbox.real import toolbox

pytestmark = pytest.mark.mirror
KINDS = {
    "usual": (), "small nodes": ("-n", "4096", "-m", "single"), "mixed": ("--mixed", "-n", "4096"),
    "without holes": ("-O", "no-holes,^free-space-tree"),
}  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("btrfs") / "tree"
    for name in ("usr/sbin", "usr/bin", "etc/many", "empty"):
        (top / name).mkdir(parents=True)
    (top / "usr/sbin/init").write_bytes(os.urandom(150_000))
    (top / "usr/bin/su").write_bytes(os.urandom(5_000))
    (top / "usr/bin/su").chmod(0o4755)
    os.link(top / "usr/bin/su", top / "usr/bin/again")
    (top / "etc/text").write_text("hello\n" * 50_000)
    (top / "etc/short").symlink_to("usr/bin")
    (top / "etc/long").symlink_to("x" * 900)
    with (top / "etc/holes").open("wb") as file:
        file.seek(300_000)
        file.write(b"end")
    for number in range(300):
        (top / f"etc/many/{number:03}{'n' * (number % 60)}").write_bytes(b"%d" % number)
    (top / os.fsdecode(b"etc/new\nline \xe9")).write_text("x")
    return top


def made(tree: Path, place: Path, options: Sequence[str]) -> Path:
    """A file system of a tree."""
    with place.open("wb") as file:
        file.truncate(128 << 20)
    words: list[str | Path] = ["-q", "-f", *options, "--shrink", "--rootdir", tree, place]
    toolbox().run("mkfs.btrfs", words, purpose="making a btrfs")
    return place


def rows(place: Path) -> set[tuple[object, ...]]:
    found = measure_input(str(place))
    return {(one.path, one.type, one.sha256, one.target, one.mode, one.uid) for one in found.files}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_a_root_on_btrfs_is_read(tree: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    place = made(tree, tmp_path / "root.btrfs", options)
    assert rows(place) == rows(tree)
    disk = tmp_path / "disk.raw"
    disk.write_bytes(gpt([Part(bytes(1 << 20)), Part(place.read_bytes())]))
    assert rows(disk) == rows(tree)


def test_the_subvolume_that_holds_a_root_is_read(tree: Path, tmp_path: Path) -> None:
    """As Fedora (root, home) and Ubuntu (@, @home) have it; one that is set as default comes first."""
    top = tmp_path / "top"
    shutil.copytree(tree, top / "root", symlinks=True)
    (top / "home").mkdir()
    (top / "home/file").write_text("x")
    subvolumes = ("--subvol", "root", "--subvol", "home")
    place = made(top, tmp_path / "root.btrfs", subvolumes)
    assert {row[:5] for row in rows(place)} >= {row[:5] for row in rows(tree) if row[1] == "link"}
    assert {row[0] for row in rows(place)} == {row[0] for row in rows(tree)}
    default = ("--subvol", "root", "--subvol", "default:home")
    assert {row[0] for row in rows(made(top, tmp_path / "other.btrfs", default))} == {"/file"}


def test_fields_that_are_wrong_are_refused_or_read(tree: Path, tmp_path: Path) -> None:
    place = made(tree, tmp_path / "root.btrfs", ("-n", "4096", "-m", "single"))
    source = random.Random(1)
    odd = (0, 1, 2, 3, 7, 0x7F, 0x80, 0xFE, 0xFF)
    with place.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_COPY) as data:
        used = [at for at in range(0x10000, len(data), 64) if any(data[at : at + 64])]
        for _ in range(150):
            changes: dict[int, int] = {}
            for _ in range(source.randint(1, 4)):
                at = source.choice(used) + source.randrange(64)
                changes.setdefault(at, data[at])
                data[at] = source.choice(odd) if source.random() < 0.7 else source.randrange(256)
            if source.random() < 0.3:
                at = 0x10000 + source.randrange(0x500)
                changes.setdefault(at, data[at])
                data[at] = source.choice(odd)
            with contextlib.suppress(MinbuildError):
                read_all(data)
            for at, byte in changes.items():
                data[at] = byte


def read_all(data: mmap) -> None:
    """Every name and every file."""
    fs = Btrfs(data, 0, len(data), "fuzz.btrfs")
    assert fs.is_dirty in (True, False)
    volume = Volume("fuzz.btrfs", fs)
    for one in list(volume.walk()):
        if one.kind is FileType.FILE and one.size < 64 << 20:
            volume.read(one.native_path)


@pytest.mark.parametrize(
    ("compression", "pack"), [(1, zlib.compress), (3, ZstdCompressor().compress)]
)
@pytest.mark.parametrize("size", [0, 4096])
def test_an_extent_unpacks_to_what_it_says_and_no_more(
    compression: int, pack: Callable[[bytes], bytes], size: int
) -> None:
    """A bomb of 64 MB in an extent; zlib takes a limit of 0 for none."""
    bomb = pack(bytes(64 << 20))
    fs = object.__new__(Btrfs)
    tracemalloc.start()
    try:
        assert fs._decompress(bomb, compression, size) == bytes(size)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
