"""Roots on xfs, made by mkfs.xfs: what is counted is what the tree holds."""

import contextlib
import os
import random
from collections.abc import Sequence
from mmap import ACCESS_COPY, mmap
from pathlib import Path

import pytest

from minbuild.errors import MinbuildError
from minbuild.formats.filesystem import Volume
from minbuild.formats.root_entry import FileType
from minbuild.formats.xfs import Xfs
from tests.support.disks import ROOT, Part, gpt
from tests.support.measured_inputs import measure_input
from tests.unit.toolbox.real import toolbox

pytestmark = pytest.mark.mirror
SMALL = {"TEST_DIR": "x", "TEST_DEV": "x", "QA_CHECK_FS": "x"}
"""What mkfs.xfs wants to see before it makes one of less than 300 MB."""
KINDS = {
    "usual": (), "1k": ("-b", "size=1024"), "version 4": ("-m", "crc=0"),
    "version 4 without types": ("-m", "crc=0", "-n", "ftype=0"),
    "large directories": ("-n", "size=8192"), "large inodes": ("-i", "size=1024"),
    "counters of 32 bits": ("-i", "nrext64=0"),
}  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("xfs") / "tree"
    for name in ("usr/sbin", "usr/bin", "etc/many", "empty"):
        (top / name).mkdir(parents=True)
    (top / "usr/sbin/init").write_bytes(os.urandom(150_000))
    (top / "usr/bin/su").write_bytes(os.urandom(5_000))
    (top / "usr/bin/su").chmod(0o4755)
    (top / "etc/short").symlink_to("usr/bin")
    (top / "etc/long").symlink_to("x" * 900)
    for number in range(300):
        (top / f"etc/many/{number:03}{'n' * (number % 60)}").write_bytes(b"%d" % number)
    return top


def made(tree: Path, place: Path, options: Sequence[str]) -> Path:
    """A file system of a tree, by a prototype file. Source: mkfs.xfs(8), -p."""
    lines = ["/", "0 0", "d--755 0 0"]

    def walk(top: Path, depth: int) -> None:
        for path in sorted(top.iterdir()):
            name, mode = path.name, path.lstat().st_mode & 0o777
            if path.is_symlink():
                lines.append(f"{name} l--777 7 8 {path.readlink()}")
            elif path.is_dir():
                lines.append(f"{name} d--{mode:03o} 0 0")
                walk(path, depth + 1)
            else:
                special = "u" if path.lstat().st_mode & 0o4000 else "-"
                lines.append(f"{name} -{special}-{mode:03o} 7 70000 {path}")
        lines.append("$")

    walk(tree, 0)
    prototype = place.with_suffix(".proto")
    prototype.write_text("\n".join(lines) + "\n")
    with place.open("wb") as file:
        file.truncate(32 << 20)
    words: list[str | Path] = ["-q", "-f", *options, "-p", prototype, place]
    toolbox().run("mkfs.xfs", words, purpose="making an xfs", env=SMALL)
    return place


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_a_root_on_xfs_is_read(tree: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    alone = made(tree, tmp_path / "root.xfs", options)
    place = tmp_path / "disk.raw"
    place.write_bytes(gpt([Part(bytes(1 << 20)), Part(alone.read_bytes(), ROOT)]))
    found, inside = measure_input(str(place)), measure_input(str(tree))
    here, there = (
        {(one.path, one.type, one.sha256, one.target, one.mode) for one in each.files}
        for each in (found, inside)
    )
    assert here == there
    owners = {(one.uid, one.gid) for one in found.files if one.type == "file"}
    assert owners == {(7, 70000)}


def test_a_log_that_is_not_empty_is_an_error(tree: Path, tmp_path: Path) -> None:
    place = made(tree, tmp_path / "root.xfs", ())
    data = bytearray(place.read_bytes())
    start = int.from_bytes(data[48:56])
    group, inside = start >> data[124], start & (1 << data[124]) - 1
    at = (group * int.from_bytes(data[84:88]) + inside) * int.from_bytes(data[4:8])
    assert data[at : at + 4] == b"\xfe\xed\xba\xbe"
    data[at + 512 + 9] &= ~0x20  # the record is no more that of an unmount
    place.write_bytes(data)
    with pytest.raises(MinbuildError, match="was not unmounted"):
        measure_input(str(place))


def test_fields_that_are_wrong_are_refused_or_read(tree: Path, tmp_path: Path) -> None:
    place = made(tree, tmp_path / "root.xfs", ("-b", "size=1024"))
    source = random.Random(1)
    odd = (0, 1, 2, 3, 7, 0x7F, 0x80, 0xFE, 0xFF)
    with place.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_COPY) as data:
        used = [at for at in range(0, len(data), 64) if any(data[at : at + 64])]
        for _ in range(400):
            changes: dict[int, int] = {}
            for _ in range(source.randint(1, 4)):
                at = source.choice(used) + source.randrange(64)
                changes.setdefault(at, data[at])
                data[at] = source.choice(odd) if source.random() < 0.7 else source.randrange(256)
            if source.random() < 0.2:
                at = source.randrange(264)
                changes.setdefault(at, data[at])
                data[at] = source.choice(odd)
            with contextlib.suppress(MinbuildError):
                _read_all(data)
            for at, byte in changes.items():
                data[at] = byte


def _read_all(data: mmap) -> None:
    fs = Xfs(data, 0, len(data), "fuzz.xfs")
    assert fs.is_dirty in (True, False)
    volume = Volume("fuzz.xfs", fs)
    for one in list(volume.walk()):
        if one.kind is FileType.FILE and one.size < 64 << 20:
            volume.read(one.native_path)
