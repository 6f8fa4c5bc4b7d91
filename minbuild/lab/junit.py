"""Boots as a JUnit document, which build servers show.

Source: the format of Apache Ant's junitreport, as Jenkins and GitLab read it.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from minbuild.errors import ToolError
from minbuild.lab.types import BootResult, Outcome, Source, State

LAST = 200
"""Console lines that a suite carries."""
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Source: XML 1.0, 2.2."""


def write(path: Path, results: Sequence[BootResult]) -> None:
    """Write a suite for each boot, a case for each probe.

    Raises: ToolError when the file cannot be written.
    """
    try:
        path.write_bytes(document(results))
    except OSError as error:
        raise ToolError(
            f"cannot write the JUnit document: {error.strerror}",
            where=str(path),
            fix="name a file in a directory that may be written",
        ) from error


def document(results: Sequence[BootResult]) -> bytes:
    """Render a suite for each boot, a case for each probe."""
    root = ET.Element("testsuites")
    for number, result in enumerate(results, 1):
        root.append(_suite(result, f"{result.image} boot {number}"))
    ET.indent(root, " ")
    data: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _suite(result: BootResult, name: str) -> ET.Element:
    counts = {state: sum(one.state is state for one in result.outcomes) for state in State}
    suite = ET.Element(
        "testsuite",
        name=_clean(name),
        tests=str(len(result.outcomes)),
        failures=str(counts[State.FAILED]),
        errors="0",
        skipped=str(counts[State.SKIPPED]),
        time=f"{result.seconds:.3f}",
    )
    suite.extend(_case(one, name) for one in result.outcomes)
    console = [line.text for line in result.lines if line.source is Source.CONSOLE]
    ET.SubElement(suite, "system-out").text = _clean("\n".join(console[-LAST:]))
    return suite


def _case(outcome: Outcome, suite: str) -> ET.Element:
    case = ET.Element(
        "testcase",
        classname=_clean(suite),
        name=_clean(outcome.name),
        time=f"{outcome.seconds or 0:.3f}",
    )
    if outcome.state is State.FAILED:
        ET.SubElement(case, "failure", message=_clean(outcome.means)).text = _clean(outcome.detail)
    elif outcome.state is State.SKIPPED:
        ET.SubElement(case, "skipped", message=_clean(outcome.detail))
    return case


def _clean(text: str) -> str:
    return FORBIDDEN.sub("?", text)
