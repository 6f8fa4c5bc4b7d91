"""Inputs that would hang a reader or eat the machine are ended, and say so."""

import contextlib
import json
import os
import shutil
import sqlite3
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minbuild.archive import lockfile
from minbuild.bounds import limit_resources
from minbuild.errors import ArchiveError, MinbuildError, ToolError, UsageError
from minbuild.facts.detect import read_facts, read_symbols
from minbuild.facts.file_hardening import read_hardening
from minbuild.facts.model import Malformed
from minbuild.footprint import document
from minbuild.formats.root_entry import FileType, RootEntry
from minbuild.paths import RootPath
from minbuild.pipeline.named_paths import find_named_paths
from minbuild.roots.installed_packages import parse_rpm_package, read_rpm_database
from tests.support.footprints import tiny
from tests.support.measured_inputs import measure_input

PLACE = "usr/lib/sysimage/rpm/rpmdb.sqlite"
HOSTILE = {
    "a view without end": "CREATE VIEW Packages(blob) AS WITH RECURSIVE n(i) AS "
    "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
    "a view without end that says nothing": "CREATE VIEW Packages(blob) AS WITH RECURSIVE n(i) AS "
    "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0",
    "a generated column": "CREATE TABLE Packages(hnum INTEGER, blob BLOB "
    "GENERATED ALWAYS AS (zeroblob(900000000)) VIRTUAL); INSERT INTO Packages(hnum) VALUES (1)",
    "a virtual table": "CREATE VIRTUAL TABLE Packages USING fts5(blob)",
    "text for bytes": "CREATE TABLE Packages(blob); INSERT INTO Packages VALUES ('x'), (NULL), (7)",
}


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_database_of_packages_is_a_table_of_bytes(tmp_path: Path, script: str) -> None:
    path = tmp_path / "db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        try:
            database.executescript(script)
        except sqlite3.OperationalError as error:
            pytest.skip(f"this SQLite does not make it: {error}")
        database.commit()
    result = {PLACE: RootEntry(RootPath(f"/{PLACE}"), PLACE, FileType.FILE, 0o644)}
    begun = time.process_time()
    with pytest.raises(ToolError, match="rpm database is damaged"):
        read_rpm_database(result, lambda _: path.read_bytes(), None)
    assert time.process_time() - begun < 10


def rpm_header(*rows: tuple[int, int, int, int], data: bytes) -> bytes:
    """A header of rpm: rows of tag, type, offset and count, and the store. Source: lib/header.c."""
    index = b"".join(struct.pack(">IIII", *row) for row in rows)
    return struct.pack(">II", len(rows), len(data)) + index + data


NAMES = (1000, 6, 0, 1)
HOSTILE_HEADERS = {
    "a tag that stands many times": rpm_header(
        NAMES, *[(1117, 8, 0, 400_000)] * 30_000, data=b"x" + bytes(1 << 20)
    ),
    "a million strings": rpm_header(NAMES, (1117, 8, 0, 1 << 20), data=b"x" + bytes(1 << 20)),
    "a long directory of many files": rpm_header(
        NAMES, (1118, 8, 0, 1), (1117, 8, 1 << 20, 100_000), (1116, 4, (1 << 20) + 200_000, 100_000),
        data=b"x" * ((1 << 20) - 1) + b"\0" + b"y\0" * 100_000 + bytes(400_000),
    ),
}  # fmt: skip


@pytest.mark.parametrize("header", HOSTILE_HEADERS.values(), ids=HOSTILE_HEADERS.keys())
def test_a_small_rpm_header_takes_little_time_and_memory(tmp_path: Path, header: bytes) -> None:
    """Each of these stood for hours, or for gigabytes, in a file of one or two megabytes."""
    path = tmp_path / "db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE Packages(blob BLOB)")
        database.execute("INSERT INTO Packages VALUES (?)", (header,))
        database.commit()
    entries = {PLACE: RootEntry(RootPath(f"/{PLACE}"), PLACE, FileType.FILE, 0o644)}
    with (
        limit_resources(seconds=20, memory=512 << 20),
        pytest.raises(ToolError, match="rpm database is damaged"),
    ):
        read_rpm_database(entries, lambda _: path.read_bytes(), None)


def test_tags_that_are_not_used_may_stand_often() -> None:
    header = rpm_header(NAMES, *[(5000, 8, 0, 400_000)] * 30_000, data=b"x" + bytes(1 << 20))
    with limit_resources(seconds=20, memory=512 << 20):
        package = parse_rpm_package(header)
    assert package is not None
    assert package.name == "x"


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="no regular file"):
        measure_input(str(tmp_path / "fifo"))
    with pytest.raises(ArchiveError, match="not a regular file"):
        lockfile.read_lock(tmp_path / "fifo")
    build = tmp_path / "build"
    build.mkdir()
    os.mkfifo(build / "footprint.json")
    with pytest.raises(UsageError, match="not a regular file"):
        measure_input(str(build))
    shutil.rmtree(build)
    build.mkdir()
    for name in ("ports.json", "host.efi", "host.lock"):
        os.mkfifo(build / name)
    (build / "footprint.json").write_text(document.render_footprint(tiny()))
    with contextlib.suppress(MinbuildError):
        measure_input(str(build))


def test_fifos_in_a_root_are_no_files(tmp_path: Path) -> None:
    for name in ("var/lib/dpkg/status", "etc/os-release", "boot/config-6.1", "etc/passwd",
                 "usr/lib/sysimage/rpm/rpmdb.sqlite", "usr/bin/program"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / name)
    (tmp_path / "etc/file").write_text("x")
    result = measure_input(str(tmp_path))
    assert (result.totals.files, result.totals.bytes) == (1, 1)


def elf_with_tables(segments: bytes, sections: bytes, names: bytes) -> bytes:
    """An ELF file of its header, program headers, section headers, and bytes that they name."""
    start = 64 + len(segments)
    counts = (56, len(segments) // 56, 64, len(sections) // 64, 0)
    header = b"\x7fELF\2\1\1" + bytes(9)
    header += struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, start if sections else 0, 0, 64, *counts
    )
    return header + segments + sections + names


def elf_of_many_sections() -> bytes:
    """60,000 sections that are the whole file, each with the same name of 60,000 bytes."""
    name = b"n" * 60_000 + b"\0"
    size = 64 + 60_000 * 64
    first = struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, size, len(name), 0, 0, 1, 0)
    every = struct.pack("<IIQQQQIIQQ", 0, 1, 2, 0, 0, size, 0, 0, 1, 0)
    return elf_with_tables(b"", first + every * 59_999, name)


def elf_of_many_notes() -> bytes:
    """60,000 segments that are the same note of one megabyte."""
    text = json.dumps([{"soname": ["x" * (1 << 20)]}]).encode()
    note = struct.pack("<III4s", 4, len(text), 0x407C0C0A, b"FDO\0") + text
    row = struct.pack("<IIQQQQQQ", 4, 4, 64 + 60_000 * 56, 0, 0, len(note), len(note), 4)
    return elf_with_tables(row * 60_000, b"", note)


def elf_of_many_needs() -> bytes:
    """A dynamic segment that needs 16,000 libraries, all with the same name of 60,000 bytes."""
    name = b"n" * 60_000 + b"\0"
    start = 64 + 2 * 56
    entries = struct.pack("<QQ", 1, 0) * 16_000
    entries += struct.pack("<QQQQQQ", 5, start + 16_003 * 16, 10, len(name), 0, 0)
    size = start + len(entries) + len(name)
    segments = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, size, size, 4096)
    segments += struct.pack("<IIQQQQQQ", 2, 4, start, start, start, len(entries), len(entries), 8)
    return elf_with_tables(segments, b"", entries + name)


def elf_of_one_long_name() -> bytes:
    """Eight megabytes of what may begin the name of a library."""
    text = b"lib" * (8 << 20) + b"\0"
    row = struct.pack("<IIQQQQQQ", 1, 4, 64 + 56, 0, 0, len(text), len(text), 4096)
    return elf_with_tables(row, b"", text)


@pytest.mark.parametrize(
    "make", [elf_of_many_sections, elf_of_many_notes, elf_of_many_needs, elf_of_one_long_name]
)
def test_tables_of_an_elf_file_that_share_bytes_take_little(make: Callable[[], bytes]) -> None:
    """Each is a file of a few megabytes that stood for hours, or for gigabytes."""
    data = make()
    with limit_resources(seconds=20, memory=1 << 30):
        facts = read_facts("/usr/lib/x.so", data)
        read_symbols("/usr/lib/x.so", data)
        find_named_paths(data)
        read_hardening(data)
    assert isinstance(facts, Malformed) == (make in (elf_of_many_notes, elf_of_many_needs))
