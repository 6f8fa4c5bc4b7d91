"""Which files a boot used, by the names it used for them."""

import json

import pytest

from minbuild.errors import ToolError
from minbuild.footprint.boot_trace import UnusedFile, read_trace, render_trace, summarize_trace
from minbuild.footprint.model import FileRow, Footprint, Totals
from minbuild.paths import RootPath
from minbuild.report.removals import render_drop_candidates, render_trace_summary


def row(path: str, kind: str = "file", target: str = "", size: int = 10) -> FileRow:
    size = size if kind == "file" else 0
    return FileRow(RootPath(path), kind, 0o755, 0, 0, size, "", target, "p", "boot/init", "boot", 0)


ROWS = (
    row("/bin", "link", "usr/bin"),
    row("/boot/vmlinuz-6.12", size=900),
    row("/etc/again", "hardlink", "/usr/bin/busybox"),
    row("/lib", "link", "usr/lib"),
    row("/loop", "link", "loop"),
    row("/usr/bin/busybox"),
    row("/usr/bin/idle", size=500),
    row("/usr/bin/sh", "link", "busybox"),
    row("/usr/lib/a/libx.so", "link", "../b/libx.so.1"),
    row("/usr/lib/b/libx.so.1"),
)
HOST = Footprint(
    "host", "amd64", "6.12", ("trixie",), {}, Totals(4, 5, 0, 920, 0), (), (), (), ROWS, ()
)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/bin/sh", "/usr/bin/busybox"),
        ("/usr/bin/../bin/./sh", "/usr/bin/busybox"),
        ("/etc/again", "/usr/bin/busybox"),
        ("/lib/a/libx.so", "/usr/lib/b/libx.so.1"),
        ("bin/idle", "/usr/bin/idle"),
        ("./idle", "/usr/bin/idle"),
    ],
)
def test_a_name_leads_to_its_file(name: str, path: str) -> None:
    assert summarize_trace(HOST, [name], {}).used == tuple(sorted(["/boot/vmlinuz-6.12", path]))


@pytest.mark.parametrize("name", ["/loop", "/loop/x", "/nothing", "/usr/bin/busybox/x", "idl"])
def test_other_names_lead_nowhere(name: str) -> None:
    assert summarize_trace(HOST, [name], {}).used == ("/boot/vmlinuz-6.12",)


def test_what_is_left_is_unused_and_what_is_missed_is_told() -> None:
    found = summarize_trace(HOST, ["/bin/sh"], {"/etc/x": 3, "/proc/9/stat": 1, "/procs": 1})
    assert found.unused == (
        UnusedFile(RootPath("/usr/bin/idle"), "boot/init", 500),
        UnusedFile(RootPath("/usr/lib/b/libx.so.1"), "boot/init", 10),
    )
    assert [(one.path, one.times) for one in found.missed] == [("/etc/x", 3), ("/procs", 1)]
    assert found.outside_image == 1
    shown = render_trace_summary(found)
    assert "opened, executed or mapped: 2 of 4 files" in shown
    assert "never opened: 2 files, 510 B" in shown
    assert "3 x  /etc/x" in shown
    assert "/usr/bin/idle" in render_drop_candidates(found)


def test_it_reads_back_what_it_wrote() -> None:
    found = summarize_trace(HOST, ["/bin/sh"], {"/etc/x": 3})
    assert read_trace(render_trace(found), "trace.json") == found


@pytest.mark.parametrize(
    "bad", ["", "[]", "{}", json.dumps({"schema": "other"}), '{"schema": "minbuild.trace/1"}']
)
def test_a_damaged_record_is_an_error(bad: str) -> None:
    with pytest.raises(ToolError, match="no record of a traced boot"):
        read_trace(bad, "trace.json")
