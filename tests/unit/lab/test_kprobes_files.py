"""Kernel probes of opened files."""

import pytest

from minbuild.lab.kprobes import FILE_EVENT, build_file_kprobes, read_opened_files
from minbuild.lab.model import LineSource, LogLine

BOOT = """\
[    1.38] look: (kern_path+0x2f/0x50 <- filename_lookup) name="dev" ret=-2
[    1.39] open: (do_open_execat+0x5c/0x100 <- do_filp_open) name="/sbin/modprobe" ret=-2
[    1.40] open: (file_open_name+0x5c/0x100 <- do_filp_open) name="usr/bin/never" ret=-1273
[    1.41] open: (file_open_name+0x5c/0x100 <- do_filp_open) name="/dev/console" ret=-127362
[    2.00] open: (do_open_execat+0x5c/0x100 <- do_filp_open) name="/init" ret=-127362656605184
[    2.01] open: (do_sys_openat2+0x5c/0x100 <- do_filp_open) name="/etc/ld.so.cache" ret=-2
[    2.02] look: (vfs_statx+0x5c/0x100 <- filename_lookup) name="/etc/later" ret=-2
[    2.03] open: (do_sys_openat2+0x5c/0x100 <- do_filp_open) name="here" ret=-127362656605184
[    2.04] open: (do_sys_openat2+0x5c/0x100 <- do_filp_open) name="/etc/later" ret=-127362656605184
[    2.05] open: (do_sys_openat2+0x5c/0x100 <- do_filp_open) name="/etc/ld.so.cache" ret=-2
[    2.06] open: (do_sys_openat2+0x5c/0x100 <- do_filp_open) name="/shut" ret=-13
[    2.07] look: (vfs_statx+0x5c/0x100 <- filename_lookup) name="/seen" ret=0
"""


def lines(text: str) -> list[LogLine]:
    return [LogLine(LineSource.TRACE, float(n), line) for n, line in enumerate(text.splitlines())]


def test_only_what_processes_open_counts() -> None:
    seen = read_opened_files(lines(BOOT))
    assert seen.opened == {"/init", "here", "/etc/later"}
    assert seen.missing == (("/etc/ld.so.cache", 2),)


def test_each_boot_begins_anew() -> None:
    again = LogLine(LineSource.CONSOLE, 9.0, "[    0.00] Linux version 6.12")
    seen = read_opened_files([*lines(BOOT), again, *lines(BOOT.replace("/init", "/other"))])
    assert "usr/bin/never" not in seen.opened
    assert {"/init", "/other"} <= seen.opened


@pytest.mark.parametrize("text", ["minbuild: open: x", '[ 1.0] open: (x) name="', ""])
def test_other_lines_are_none_of_it(text: str) -> None:
    assert FILE_EVENT.match(text) is None


def test_an_old_kernel_tells_no_result() -> None:
    assert "$retval" in build_file_kprobes()[0]
    assert "$retval" in build_file_kprobes("6.12.117+deb13-cloud-amd64")[0]
    assert "$retval" not in build_file_kprobes("6.1.0-30-cloud-amd64")[0]
    assert len(";".join(build_file_kprobes())) < 400
    (line,) = lines('[    2.00] open: (do_filp_open+0x0/0x1) name="/init"')
    assert read_opened_files([line]).opened == {"/init"}
