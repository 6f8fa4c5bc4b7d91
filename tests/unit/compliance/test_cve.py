"""Security issues: what touches the image, what was trimmed away, what is not known."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.compliance.cve import assess_issues, render_image_issues
from minbuild.compliance.cyclonedx import render_vex
from minbuild.compliance.security_data import read_advisories
from minbuild.errors import UsageError
from minbuild.footprint.model import FileRow
from minbuild.paths import RootPath
from tests.unit.compliance.shipments import MODULE, WALL, package, shipment

FIXED = "In the Linux kernel, the following vulnerability has been resolved:\n\n"
TRACKER = {
    "linux": {
        "CVE-1": {"description": FIXED + "net: bridge: fix a leak", "releases": {"trixie": {"status": "open"}}},
        "CVE-2": {"description": FIXED + "drm/amdgpu: fix a leak\n\nbridge", "releases": {"trixie": {"status": "open"}}},
        "CVE-3": {"description": "x", "releases": {"trixie": {"status": "resolved", "fixed_version": "6.1.2-1"}}},
        "CVE-4": {"description": "x", "releases": {"trixie": {"status": "resolved", "fixed_version": "6.1.20-1"}}},
        "CVE-5": {"description": "x", "releases": {"bookworm": {"status": "open"}}},
    },
    "util-linux": {
        "CVE-6": {"description": "wall does not filter", "releases": {"trixie": {"status": "open", "urgency": "low"}}},
        "CVE-7": {"description": "a flaw", "releases": {"trixie": {"status": "open"}}},
    },
    "bash": {"CVE-8": {"description": "x", "releases": {"trixie": {"status": "open"}}}},
}  # fmt: skip
OFFERED = {
    "linux-image": (MODULE, "/usr/lib/modules/6.1/kernel/gpu/amdgpu.ko.xz", "/boot/vmlinuz-6.1"),
    "libuuid1": (WALL, "/usr/lib/libuuid.so.1"),
}


def test_issues_are_told_apart_by_what_is_in_the_image(tmp_path: Path) -> None:
    found = assess_issues(
        shipment(tmp_path), read_advisories(json.dumps(TRACKER), "trixie", "x"), OFFERED
    )
    touching = {one.advisory.name for one in found if not one.trimmed}
    trimmed = {one.advisory.name: one.trimmed for one in found if one.trimmed}
    assert touching == {"CVE-1", "CVE-4", "CVE-7"}
    assert trimmed == {
        "CVE-2": ("/usr/lib/modules/6.1/kernel/gpu/amdgpu.ko.xz",),
        "CVE-6": (WALL,),
    }


def test_an_advisory_of_xen_is_of_its_hypervisor_and_of_the_tools_that_are_there(
    tmp_path: Path,
) -> None:
    tools = "/usr/lib/xen-4.20/bin"
    texts = {
        "CVE-1": "Certain instructions need intercepting and emulating by Xen.",
        "CVE-2": "oxenstored forgets a quota",
        "CVE-3": "xenstored and oxenstored forget a quota",
        "CVE-4": "pygrub runs as root; hvmloader does not",
    }
    open_in_trixie = {"trixie": {"status": "open"}}
    issues = {
        name: {"description": text, "releases": open_in_trixie} for name, text in texts.items()
    }
    issues["CVE-5"] = {
        "description": "x",
        "releases": {"trixie": {"status": "resolved", "fixed_version": "4.20.1-1"}},
    }
    name, path = "xen-utils-4.20", RootPath(f"{tools}/xenstored")
    row = FileRow(path, "file", 0o755, 0, 0, 9, "3" * 64, "", name, "hypervisor/xen", "hypervisor", 9)  # fmt: skip
    image = replace(
        shipment(tmp_path),
        packages=(package(name, "4.20.4-1", "xen"),),
        files={name: (row,)},
    )
    offered = {name: [f"{tools}/{one}" for one in ("xenstored", "oxenstored", "pygrub")]}
    offered[name] += ["/usr/lib/xen-4.20/boot/hvmloader"]
    found = assess_issues(
        image, read_advisories(json.dumps({"xen": issues}), "trixie", "x"), offered
    )
    assert {one.advisory.name: one.trimmed for one in found} == {
        "CVE-1": (),
        "CVE-2": (f"{tools}/oxenstored",),
        "CVE-3": (),
        "CVE-4": (f"{tools}/pygrub", "/usr/lib/xen-4.20/boot/hvmloader"),
    }
    assert {one.packages for one in found} == {(name,)}


def test_the_fixing_version_is_named(tmp_path: Path) -> None:
    text = render_image_issues(
        assess_issues(
            shipment(tmp_path), read_advisories(json.dumps(TRACKER), "trixie", "x"), OFFERED
        )
    )
    assert "open issues of files in the image: 3" in text
    assert "CVE-4  linux (linux-image): fixed in 6.1.20-1" in text
    assert "CVE-7  util-linux (libuuid1): no fix yet" in text


def test_osv_says_the_same(tmp_path: Path) -> None:
    entry = {
        "id": "CVE-9",
        "details": "a flaw",
        "affected": [
            {
                "package": {"ecosystem": "Debian:13", "name": "util-linux"},
                "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.41-6"}]}
                ],
            },
            {"package": {"ecosystem": "PyPI", "name": "util-linux"}},
        ],
    }
    (known,) = read_advisories(json.dumps([entry]), "trixie", "x")
    assert known.fixed == "2.41-6"
    (one,) = assess_issues(shipment(tmp_path), (known,), OFFERED)
    assert one.packages == ("libuuid1",)
    newer = json.loads(json.dumps(entry).replace("2.41-6", "2.41-5"))
    assert (
        assess_issues(
            shipment(tmp_path), read_advisories(json.dumps(newer), "trixie", "x"), OFFERED
        )
        == ()
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the file is empty"),
        ("<html>", "no JSON at line 1, column 1 (Expecting value)"),
        ('{"linux": {"CVE-1": {"rel', "no JSON at line 1, column 22 (Unterminated string starting at)"),
        ("{}", "neither an object nor a list with something in it"),
        ("3", "neither an object nor a list with something in it"),
        ("[1]", "entry 1 is no object"),
        ('{"linux": 3}', "linux is no object"),
        ('{"linux": {"CVE-1": {}}}', "linux: CVE-1: releases is not there"),
        ('{"linux": {"CVE-1": {"releases": {"trixie": {}}}}}', "linux: CVE-1: trixie has no status"),
        ('{"affected": [{}]}', "entry 1 has no id"),
        ('[{"id": "x", "affected": [{"package": {"name": "a"}}]}]',
         "entry 1: affected: package has no ecosystem"),
        ('[{"id": "x"}]', "entry 1: affected is not there"),
        ('[{"id": "x", "affected": 3}]', "entry 1: affected is no list"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)  # fmt: skip
def test_other_data_are_an_error(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_advisories(text, "trixie", "data.json")
    assert caught.value.what == f"this is no security data: {why}"
    assert caught.value.where == "data.json"
    assert ("it ends too early" in caught.value.fix) == ("Unterminated" in why)


def test_what_this_kernel_is_built_without_is_not_in_the_image(tmp_path: Path) -> None:
    texts = {
        "CVE-1": "wifi: iwlwifi: fix a leak", "CVE-2": "drm/amdgpu: fix", "CVE-3": "mm: fix wifi",
        "CVE-4": "Bluetooth: fix", "CVE-5": "usb: gadget: fix",
    }  # fmt: skip
    data = {
        name: {"description": FIXED + text, "releases": {"trixie": {"status": "open"}}}
        for name, text in texts.items()
    }
    known = read_advisories(json.dumps({"linux": data}), "trixie", "x")
    offered = {"linux-image": (MODULE,)}
    options = {"USB": "y", "BT": "m"}
    found = {
        one.advisory.name: one.trimmed
        for one in assess_issues(shipment(tmp_path), known, offered, options)
    }
    assert {name for name, trimmed in found.items() if not trimmed} == {"CVE-3", "CVE-4", "CVE-5"}
    assert found["CVE-1"] == ("CONFIG_CFG80211, which this kernel is built without",)
    unknown = assess_issues(shipment(tmp_path), known, offered)
    assert not any(one.trimmed for one in unknown)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_vex_is_valid_and_says_what_is_not_there(tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    one = shipment(tmp_path)
    text = render_vex(
        one, assess_issues(one, read_advisories(json.dumps(TRACKER), "trixie", "x"), OFFERED)
    )
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    states = {v["id"]: v["analysis"]["state"] for v in json.loads(text)["vulnerabilities"]}
    assert states["CVE-2"] == "not_affected"
    assert states["CVE-1"] == "in_triage"
