"""Our readers of partition tables and of ext2, ext3 and ext4 held against sfdisk and debugfs."""

import contextlib
import hashlib
import json
import os
import re
import subprocess
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import pytest

from minbuild.errors import ToolError, UsageError
from minbuild.formats.ext4 import Ext4
from minbuild.formats.filesystem import Volume
from minbuild.formats.partition_table import read_partition_table
from minbuild.formats.root_entry import FileType
from tests.oracle import diskcases
from tests.oracle.diskcases import SYSTEMS, System
from tests.unit.toolbox.real import toolbox

NOT_HERE = (
    *("must be superuser", "permission denied", "unknown filesystem type", "loop device"),
    "wrong fs type",  # a kernel with pages of 4 KiB, or without UTF-8 names, has no such ext4
)
"""What mount says where it may not, or cannot, mount anything of the kind. Source: mount(8)."""

pytestmark = [pytest.mark.oracle, pytest.mark.mirror]

Row = tuple[int, int, int, str, str, str]


def read_with_sfdisk(path: Path, sector: int) -> list[Row] | None:
    """Number, start, size, type, UUID and name of each partition; None where sfdisk gives up."""
    argv: list[str | Path] = ["--json", "--sector-size", str(sector), path]
    try:
        output = json.loads(toolbox().run("sfdisk", argv, purpose="reading a table"))
    except ToolError:
        return None
    if output["partitiontable"]["label"] == "dos" and "ee" in _kinds(output):
        return None  # both copies of its GPT are damaged: what protects it is left
    rows: list[Row] = []
    for one in output["partitiontable"].get("partitions", []):
        number = int(re.search(r"(\d+)$", one["node"].removeprefix(str(path)))[1])  # type: ignore[index]
        kind = one["type"].lower() if "-" in one["type"] else f"{int(one['type'], 16):#04x}"
        rows.append((number, one["start"] * sector, one["size"] * sector, kind,
                     one.get("uuid", "").lower(), one.get("name", "")))  # fmt: skip
    return sorted(rows)


def _kinds(output: dict[str, Any]) -> set[str]:
    return {one["type"] for one in output["partitiontable"].get("partitions", [])}


def read_own_table(path: Path) -> list[Row] | None:
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        try:
            table = read_partition_table(data, str(path))
        except UsageError:
            return None
    gpt = table.label == "gpt"
    return [
        (one.number, one.start, one.size, one.kind, one.uuid if gpt else "", one.name)
        for one in table.partitions
    ]


def _compare_tables(directory: Path, count: int, seed: int) -> None:
    read = 0
    for case in diskcases.tables(directory, count, seed):
        expected = read_with_sfdisk(case.place, case.sector)
        assert read_own_table(case.place) == expected, case.name
        read += expected is not None
        case.place.unlink()
    assert read > count // 2


def test_tables_are_read_as_sfdisk_reads_them(tmp_path: Path) -> None:
    _compare_tables(tmp_path, 90, diskcases.SEED)


@pytest.mark.long
def test_a_thousand_tables_are_read_as_sfdisk_reads_them(tmp_path: Path) -> None:
    for seed in range(10):
        _compare_tables(tmp_path, 100, seed)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return diskcases.tree(tmp_path_factory.mktemp("disks") / "tree")


def make_filesystem(system: System, tree: Path, path: Path) -> Path:
    """The file system, its directories indexed by e2fsck, one owner beyond 16 bits."""
    argv: list[str | Path] = ["-q", "-F", *system.options, "-d", tree, path, system.size]
    toolbox().run("mke2fs", argv, purpose="making a file system")
    with contextlib.suppress(ToolError):  # it has "modified the file system"
        toolbox().run("e2fsck", ["-fyD", path], purpose="indexing directories")
    owners = "sif /file4 uid 70001\nsif /file4 gid 80002\nrm /many/again\nunlink /file7\n"
    script = path.with_suffix(".script")
    script.write_text(owners)
    toolbox().run("debugfs", ["-w", "-f", script, path], purpose="changing it")
    return path


Rows = dict[bytes, tuple[str, int, str]]


def read_directory(top: Path) -> Rows:
    """Path → kind, mode without what chown takes away, and digest or text."""
    rows: Rows = {}
    for at, directories, files in os.walk(top):
        for name in (*directories, *files):
            path = Path(at, name)
            mode = path.lstat().st_mode & 0o777
            raw = os.fsencode(path.relative_to(top))
            if path.is_symlink():
                rows[raw] = ("link", 0o777, os.fsdecode(path.readlink()))
            elif path.is_dir():
                rows[raw] = ("directory", mode, "")
            else:
                rows[raw] = ("file", mode, hashlib.sha256(path.read_bytes()).hexdigest())
    return rows


def read_disk(path: Path) -> tuple[Rows, dict[bytes, tuple[int, int, int]]]:
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        disk = Volume(str(path), Ext4(data, 0, len(data), str(path)))
        rows: Rows = {}
        owners = {}
        for one in disk.walk():
            raw = one.native_path.encode("utf-8", "surrogateescape")
            owners[raw] = (one.uid, one.gid, one.mode)
            body = one.target if one.kind is FileType.LINK else ""
            if one.kind in (FileType.FILE, FileType.HARDLINK):
                body = hashlib.sha256(disk.read(one.native_path)).hexdigest()
            kind = "file" if one.kind is FileType.HARDLINK else str(one.kind)
            rows[raw] = (kind, one.mode & 0o777, body)
    return rows, owners


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_file_systems_are_read_as_debugfs_reads_them(
    system: System, tree: Path, tmp_path: Path
) -> None:
    path = make_filesystem(system, tree, tmp_path / "disk")
    rows, owners = read_disk(path)
    out = tmp_path / "out"
    out.mkdir()
    holes = rows.pop(b"holes")
    if "inline_data" not in str(system.options):  # mke2fs itself writes others' bytes there
        assert holes == read_directory(tree)[b"holes"]
    toolbox().run("debugfs", ["-w", "-R", "rm /holes", path], purpose="making it smaller")
    toolbox().run("debugfs", ["-R", f"rdump / {out}", path], purpose="reading it")
    expected = read_directory(out)
    assert len(rows) > 700
    if "inline_data" in str(system.options):  # debugfs dumps 60 bytes of shorter files
        before = read_directory(tree)
        expected = {
            raw: row if row[0] == "directory" else before[raw] for raw, row in expected.items()
        }
    assert rows == expected
    assert owners[b"file4"][:2] == (70001, 80002)
    assert owners[b"file5"] == (os.geteuid(), os.getegid(), 0o4755)
    assert owners[b"d0"][2] == 0o1777


@pytest.mark.long
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_file_systems_are_read_as_the_kernel_reads_them(
    system: System, tree: Path, tmp_path: Path
) -> None:
    """Needs root, loop devices and a kernel that has the file system; else it is skipped."""
    path = make_filesystem(system, tree, tmp_path / "disk")
    top = tmp_path / "mounted"
    top.mkdir()
    mounted = subprocess.run(["mount", "-o", "loop,ro", path, top], capture_output=True, text=True)
    if any(reason in mounted.stderr for reason in NOT_HERE):
        pytest.skip(f"it cannot be mounted here: {mounted.stderr.strip()}")
    assert mounted.returncode == 0, mounted.stderr
    try:
        assert read_disk(path)[0] == read_directory(top)
    finally:
        subprocess.run(["umount", top], check=True)
