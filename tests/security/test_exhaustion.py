"""Inputs that would hang a reader or eat the machine are ended, and say so."""

import contextlib
import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from minbuild.archive import lockfile
from minbuild.errors import ArchiveError, MinbuildError, ToolError, UsageError
from minbuild.footprint import document
from minbuild.formats.root_entry import FileType, RootEntry
from minbuild.paths import RootPath
from minbuild.roots.rpm_database import read_rpm_database
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
