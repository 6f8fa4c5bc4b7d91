"""The committed schema and golden file of footprint.json."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from minbuild.footprint.document import read_footprint, render_footprint
from minbuild.footprint.model import FindingKind, Footprint, ProbeRow, Surface, SurfaceFinding
from minbuild.kconfig.model import How, OptionNeed
from minbuild.resolve.model import NeedKind
from tests.support.footprints import tiny

GOLDEN = Path(__file__).parent / "golden" / "footprint.json"
SCHEMA = json.loads(
    (Path(__file__).parents[3] / "docs/reference/footprint.schema.json").read_text("utf-8")
)


def golden() -> Footprint:
    """The small footprint with one finding of each kind of value."""
    findings = (
        SurfaceFinding(FindingKind.EXECUTABLE, "/usr/bin/busybox", "elf"),
        SurfaceFinding(FindingKind.EXPORTS, "/usr/bin/busybox", "12"),
        SurfaceFinding(FindingKind.LISTENER, "22/tcp", "configured: sshd in /etc/inittab"),
    )
    surface = Surface(findings, (FindingKind.KERNEL_LACKS,), in_lab=True)
    probe = ProbeRow(
        "ssh", "", 30, "nobody answers", lease=False, lookup="", tcp=22, to="host",
        says="SSH-2.0", where="ssh.yaml:9:1",
    )  # fmt: skip
    return replace(
        tiny(), surface=surface, probes=(probe,), budget={"files": 48, "packed": 17_600_000},
        budget_locations={"files": "host.yaml:30:10", "packed": "host.yaml:31:11"},
        kernel_options=(
            OptionNeed("BRIDGE", "y", "network/bridge", How.ASKED, "bridge.yaml:1:1"),
            OptionNeed("STP", "y", "BRIDGE", How.SELECT),
        ),
    )  # fmt: skip


def test_the_document_is_the_golden_one() -> None:
    assert render_footprint(golden()) == GOLDEN.read_text("utf-8")
    assert read_footprint(GOLDEN.read_text("utf-8"), "x") == golden()


@pytest.mark.parametrize("footprint", [tiny(), golden()])
def test_the_document_keeps_to_the_schema(footprint: Footprint) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(render_footprint(footprint)), SCHEMA)


def test_the_schema_knows_every_kind() -> None:
    parts = SCHEMA["properties"]
    assert parts["edges"]["items"]["properties"]["kind"]["enum"] == sorted(map(str, NeedKind))
    findings = parts["surface"]["properties"]["findings"]["items"]["properties"]
    assert findings["kind"]["enum"] == sorted(map(str, FindingKind))
    options = parts["kernel_options"]["items"]["properties"]
    assert options["how"]["enum"] == list(map(str, How))


def test_the_schema_refuses_what_is_not_in_it() -> None:
    document = json.loads(render_footprint(golden()))
    document["more"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)
