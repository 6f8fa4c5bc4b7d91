"""The kernel's own CVE records: versions, sources, and what a kernel that was built has of them."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.archive import lockfile
from minbuild.archive.model import Lock, LockedSuite
from minbuild.cli.main import run_command_line
from minbuild.compliance.built_image import BuiltImage, open_built_image
from minbuild.compliance.cve import assess_issues, render_image_issues
from minbuild.compliance.cyclonedx import render_vex
from minbuild.compliance.kernel_records import (
    add_records,
    find_fixing_version,
    is_open_in,
    is_record_text,
    load_kernel_records,
    read_kernel_records,
)
from minbuild.compliance.security_data import read_advisories
from minbuild.errors import UsageError
from minbuild.footprint import document
from minbuild.footprint.measure import with_totals
from minbuild.footprint.model import FileRow
from minbuild.kconfig.document import render_options
from minbuild.kconfig.model import How, KernelOptions, OptionNeed
from minbuild.paths import RootPath
from tests.support.footprints import tiny
from tests.unit.compliance.shipments import package

VERSION = "6.12.118"
COMPILED = "fs/ext4/inode.c\ninclude/linux/fs.h\nnet/core/dev.c\n"


def make_record(name: str, *files: str, fixed: str = "", since: str = "6.0") -> dict[str, Any]:
    """A record as the kernel's authority writes them: commits, then releases."""
    ranges: list[dict[str, str]] = [
        {"version": since, "status": "affected"},
        {"version": "0", "lessThan": since, "status": "unaffected", "versionType": "semver"},
        {"version": "6.18", "lessThanOrEqual": "*", "status": "unaffected",
         "versionType": "original_commit_for_fix"},
    ]  # fmt: skip
    if fixed:
        series = fixed.rpartition(".")[0]
        ranges.append(
            {"version": fixed, "lessThanOrEqual": f"{series}.*", "status": "unaffected",
             "versionType": "semver"}
        )  # fmt: skip
    product = {"product": "Linux", "vendor": "Linux", "programFiles": list(files)}
    commits = [{"version": "1da177e4c3f4", "lessThan": "8e2d0f4f9c1b", "status": "affected",
                "versionType": "git"}]  # fmt: skip
    return {
        "dataType": "CVE_RECORD",
        "dataVersion": "5.1",
        "cveMetadata": {"cveId": name},
        "containers": {
            "cna": {
                "title": "a leak",
                "descriptions": [{"lang": "en", "value": f"{name}: a leak"}],
                "affected": [
                    {**product, "defaultStatus": "unaffected", "versions": commits},
                    {**product, "defaultStatus": "affected", "versions": ranges},
                ],
            }
        },
    }


RECORDS = [
    make_record("CVE-2026-1", "fs/ext4/inode.c", fixed="6.12.120"),
    make_record("CVE-2026-2", "drivers/gpu/drm/amd/display/dc.c", "drivers/gpu/drm/drm_file.c"),
    make_record("CVE-2026-3", "fs/ext4/inode.c", fixed="6.12.118"),
    make_record("CVE-2026-4", "net/core/dev.c", since="6.13"),
    make_record("CVE-2026-5", "drivers/net/x.c", "include/linux/fs.h"),
    make_record("CVE-2026-6", "drivers/net/x.c", "arch/x86/Makefile"),
]


@pytest.fixture
def image(tmp_path: Path) -> BuiltImage:
    """A build directory whose kernel was built."""
    kernel = RootPath(f"/boot/vmlinuz-{VERSION}")
    row = FileRow(kernel, "file", 0o644, 0, 0, 9, "4" * 64, "", "linux-source-6.12", "kernel/kvm", "kernel", 9)  # fmt: skip
    options = (OptionNeed("EXT4_FS", "y", "filesystem/ext4", How.ASKED),)
    whole = replace(tiny(), kernel=VERSION, kernel_options=options, files=(row,), edges=())
    footprint = with_totals(whole, {"linux-source-6.12": f"{VERSION}-1"}, {})
    directory = tmp_path / "image"
    directory.mkdir()
    (directory / "footprint.json").write_text(document.render_footprint(footprint))
    (directory / "kernel-sources.txt").write_text(COMPILED)
    resolved = KernelOptions(VERSION, {}, {}, (), patches=(("fix.patch", "7" * 64),))
    (directory / "kernel-options.json").write_text(render_options(resolved))
    source = package("linux-source-6.12", f"{VERSION}-1", "linux")
    tools = (package("gcc-14", "14.2.0-19"), package("kmod", "34-1"))
    lock = Lock(
        "amd64", (LockedSuite("trixie", "debian", 1_700_000_000, "5" * 64),), (source,), tools
    )
    lockfile.write_lock(directory / "tiny.lock", lock)
    return open_built_image(directory)


def _assess(image: BuiltImage, tracker: str = "") -> dict[str, tuple[str, ...]]:
    records = read_kernel_records(json.dumps(RECORDS), "x")
    known = read_advisories(tracker, "trixie", "x") if tracker else ()
    issues = assess_issues(image, add_records(known, records, VERSION), {})
    return {one.advisory.name: one.trimmed for one in issues}


def test_what_is_open_touches_the_image_when_a_source_of_it_was_compiled(image: BuiltImage) -> None:
    assert _assess(image) == {
        "CVE-2026-1": (),
        "CVE-2026-2": ("drivers/gpu/drm/amd/display/dc.c", "drivers/gpu/drm/drm_file.c"),
        "CVE-2026-5": (),  # a header that was read
        "CVE-2026-6": (),  # a file that decides how others are compiled
    }


def test_a_distributions_data_decide_what_is_open(image: BuiltImage) -> None:
    tracker = {
        "linux": {
            "CVE-2026-2": {"description": "x", "releases": {"trixie": {"status": "open"}}},
            "CVE-2026-4": {"description": "x", "releases": {"trixie": {"status": "open"}}},
            "CVE-2026-9": {"description": "x", "releases": {"trixie": {"status": "open"}}},
        }
    }
    found = _assess(image, json.dumps(tracker))
    assert {name for name, trimmed in found.items() if trimmed} == {"CVE-2026-2"}
    assert set(found) == {"CVE-2026-2", "CVE-2026-4", "CVE-2026-9"}


def test_a_packages_kernel_is_judged_as_ever(image: BuiltImage) -> None:
    assert set(_assess(replace(image, compiled=None)).values()) == {()}


@pytest.mark.parametrize(
    ("version", "is_open"),
    [("6.12.119", True), ("6.12.120", False), ("6.12.200", False), ("6.13.1", True), ("6.18", False),
     ("6.19.3", False), ("5.15.1", False), ("6.0", True), ("6.17.9", True)],
)  # fmt: skip
def test_a_version_is_affected_by_its_series(version: str, is_open: bool) -> None:
    (record,) = read_kernel_records(json.dumps(RECORDS[0]), "x")
    assert is_open_in(record, version) is is_open


def test_the_fix_of_the_same_series_is_named() -> None:
    first, second, *_ = read_kernel_records(json.dumps(RECORDS), "x")
    assert find_fixing_version(first, VERSION) == "6.12.120"
    assert find_fixing_version(first, "6.13.1") == ""
    assert find_fixing_version(second, VERSION) == ""


def test_a_record_of_commits_alone_counts_as_open() -> None:
    row = make_record("CVE-2026-7", "mm/slub.c")
    del row["containers"]["cna"]["affected"][1]
    (record,) = read_kernel_records(json.dumps(row), "x")
    assert is_open_in(record, VERSION)


def test_records_of_other_products_and_rejected_ones_are_left_out() -> None:
    rejected = make_record("CVE-2026-8")
    del rejected["containers"]["cna"]["affected"]
    other = json.loads(json.dumps(RECORDS[0]).replace('"Linux"', '"Other"'))
    assert read_kernel_records(json.dumps([rejected, other]), "x") == ()


def test_a_directory_of_records_is_read(tmp_path: Path) -> None:
    for row in RECORDS:
        path = tmp_path / "2026" / f"{row['cveMetadata']['cveId']}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(row))
    assert load_kernel_records(tmp_path) == read_kernel_records(json.dumps(RECORDS), "x")
    with pytest.raises(UsageError, match="no CVE record"):
        load_kernel_records(tmp_path / "2025")


@given(st.data())
def test_a_damaged_record_is_an_error_in_words(data: st.DataObject) -> None:
    text = json.dumps(RECORDS[0])
    place = data.draw(st.integers(0, len(text) - 1))
    damaged = (
        text[:place] + data.draw(st.sampled_from(["", "{", '"', "0", "null"])) + text[place + 1 :]
    )
    with suppress(UsageError):  # and nothing else
        read_kernel_records(damaged, "r.json")


def test_only_records_are_taken_for_such() -> None:
    assert is_record_text(json.dumps(RECORDS))
    assert not is_record_text('{"linux": {}}')


def test_the_command_takes_records_and_reads_no_source_package(
    image: BuiltImage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "records.json"
    data.write_text(json.dumps(RECORDS))
    words = ["cve", str(tmp_path / "image"), "--data", str(data), "--offline"]
    assert run_command_line([*words, "--store", str(tmp_path / "store"), "--json"]) == 0
    issues = json.loads(capsys.readouterr().out)["issues"]
    assert {one["advisory"]["name"]: one["not_compiled"] for one in issues} == {
        "CVE-2026-1": False, "CVE-2026-2": True, "CVE-2026-5": False,
        "CVE-2026-6": False,
    }  # fmt: skip
    assert image.compiled is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_vex_has_the_list_of_compiled_sources_as_evidence(image: BuiltImage) -> None:
    records = read_kernel_records(json.dumps(RECORDS), "x")
    issues = assess_issues(image, add_records((), records, VERSION), {})
    vex = json.loads(render_vex(image, issues))
    analyses = {one["id"]: one["analysis"] for one in vex["vulnerabilities"]}
    assert analyses["CVE-2026-1"] == {"state": "in_triage"}
    digest = image.kernel_evidence["kernel-sources.txt"]
    assert analyses["CVE-2026-2"] == {
        "state": "not_affected",
        "justification": "code_not_present",
        "detail": (
            "not compiled: drivers/gpu/drm/amd/display/dc.c, drivers/gpu/drm/drm_file.c; "
            f"kernel-sources.txt (sha256:{digest}) lists the 3 sources and headers that were"
        ),
    }
    (kernel,) = (one for one in vex["components"] if one["name"] == "linux-source-6.12")
    named = {one["name"]: one["value"] for one in kernel["properties"]}
    assert named["minbuild:kernel:kernel-sources.txt"] == f"sha256:{digest}"
    assert named["minbuild:kernel:toolchain:gcc-14"].startswith("14.2.0-19 sha256:")
    assert "minbuild:kernel:toolchain:kmod" not in named
    assert named["minbuild:kernel:patch:fix.patch"] == f"sha256:{'7' * 64}"
    text = render_image_issues(issues)
    assert "not compiled: drivers/gpu/drm/amd/display/dc.c" in text
    assert "CVE-2026-1  linux (linux-source-6.12): fixed in 6.12.120" in text
