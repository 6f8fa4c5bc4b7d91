"""Several boots, for people and for build servers."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from minbuild.errors import ToolError
from minbuild.lab.boot_results import (
    compute_statistics,
    format_statistics_table,
    statistics_to_json,
    write_boot_junit,
)
from minbuild.lab.boot_results import render_boot_junit as junit
from minbuild.lab.model import LineSource, LogLine, ProbeState
from tests.unit.lab.test_boot_results import DHCP, INIT, KVM, result

SKIPPED = replace(KVM, state=ProbeState.SKIPPED, seconds=None, detail="not asked")
BOOTS = (
    result(INIT, DHCP, SKIPPED),
    result(
        replace(INIT, seconds=4.0, uptime=None),
        replace(DHCP, state=ProbeState.PASSED, seconds=9.0),
        SKIPPED,
    ),
    result(replace(INIT, seconds=3.5), DHCP, SKIPPED),
)


def test_the_spread_of_each_probe_is_shown() -> None:
    lines = format_statistics_table(BOOTS)
    assert lines[0].split() == ["probe", "met", "least", "median", "most", "uptime"]
    assert lines[1].split()[:8] == ["init", "3", "of", "3", "2.00", "3.50", "4.00", "1.25"]
    assert lines[2].split()[:7] == ["dhcp", "1", "of", "3", "9.00", "9.00", "9.00"]
    assert lines[3].split() == ["kvm", "skipped"]
    assert "boots        3" in lines


def test_a_probe_that_was_never_met_has_no_times() -> None:
    (row,) = compute_statistics([result(DHCP)])
    assert (row.passed, row.attempts, row.seconds, row.uptime) == (0, 1, None, None)
    assert statistics_to_json([result(DHCP)])["passed"] is False


def test_junit_counts_what_it_lists() -> None:
    bad = LogLine(LineSource.CONSOLE, 1.0, "a control code \x07 and <markup> & more")
    root = ET.fromstring(junit([replace(boot, lines=(bad,)) for boot in BOOTS]))
    suites = root.findall("testsuite")
    assert [suite.get("name") for suite in suites] == [f"host.raw boot {n}" for n in (1, 2, 3)]
    for suite in suites:
        assert int(suite.get("tests", "")) == len(suite.findall("testcase"))
        assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("skipped", "")) == len(suite.findall("testcase/skipped"))
        assert suite.findtext("system-out") == "a control code ? and <markup> & more"
    failure = suites[0].find("testcase/failure")
    assert failure is not None
    assert (failure.get("message"), failure.text) == ("no lease", "not seen on the console")


def test_a_document_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="JUnit"):
        write_boot_junit(tmp_path / "no such directory" / "x.xml", BOOTS)
