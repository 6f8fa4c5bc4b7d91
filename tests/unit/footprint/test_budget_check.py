"""Budgets: each kind of rule, waivers, baselines."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from minbuild.errors import ManifestError
from minbuild.footprint.budget_check import (
    check_budget,
    check_embedded_limits,
    has_passed,
    summarize_results,
)
from minbuild.footprint.budget_result import BudgetResult, RuleState
from minbuild.footprint.model import FindingKind, Footprint, Surface, SurfaceFinding
from minbuild.manifest.budget_document import load_budget, rewrite_limits
from minbuild.manifest.limits import Limit
from minbuild.manifest.model import Location
from tests.support.footprint_variants import change_footprint, find_row
from tests.support.footprints import tiny

TODAY = date(2026, 6, 1)


def results(
    tmp_path: Path, text: str, footprint: Footprint | None = None, baseline: Footprint | None = None
) -> dict[str, BudgetResult]:
    """What comes of a budget: result by rule."""
    path = tmp_path / "budget.yaml"
    path.write_text(f"minbuild-budget: 1\n{text}\n", encoding="utf-8")
    found = check_budget(
        footprint or tiny(), load_budget(path), baseline=baseline, today=TODAY
    )  # fmt: skip
    return {one.rule: one for one in found}


@pytest.mark.parametrize(
    ("text", "rule", "state"),
    [
        ("totals: {files: 4}", "totals.files", RuleState.PASSED),
        ("totals: {files: 3}", "totals.files", RuleState.FAILED),
        ("totals: {packed: 1.3 MB}", "totals.packed", RuleState.FAILED),
        ("sections: {boot: {bytes: 1 MB}}", "sections.boot.bytes", RuleState.PASSED),
        ('components: {"*": {bytes: 500 kB}}', "components.boot/init.bytes", RuleState.FAILED),
        ('components: {"*": {bytes: 1}, boot/init: {bytes: 1 MB}}', "components.boot/init.bytes", RuleState.PASSED),
        ("packages: {busybox: {files: 0}}", "packages.busybox.files", RuleState.FAILED),
        ("partitions: {esp: {size: 4 MB, slots: 2, reserve: 30}}", "partitions.esp", RuleState.PASSED),
        ("partitions: {esp: {size: 4 MB, slots: 2, reserve: 40}}", "partitions.esp", RuleState.FAILED),
        ("deny: {paths: [/usr/bin/v*]}", "deny.paths /usr/bin/v*", RuleState.FAILED),
        ("deny: {packages: [perl*]}", "deny.packages perl*", RuleState.PASSED),
        ("deny: {components: [hypervisor/*]}", "deny.components hypervisor/*", RuleState.FAILED),
        ("unowned: 0", "unowned", RuleState.PASSED),
        ("shrink: 10\ntotals: {files: 9}", "shrink.files", RuleState.FAILED),
        ("growth: {packed: {bytes: 0}}", "growth.packed", RuleState.SKIPPED),
        ("new-components: false", "new-components", RuleState.SKIPPED),
    ],
)  # fmt: skip
def test_each_kind_of_rule(tmp_path: Path, text: str, rule: str, state: RuleState) -> None:
    assert results(tmp_path, text)[rule].state is state


def test_growth_fails_only_above_bytes_and_percent_both(tmp_path: Path) -> None:
    grown = change_footprint([replace(find_row("/usr/bin/busybox"), size=710_000)])
    for step, state in (
        ("{bytes: 9999, percent: 0}", RuleState.FAILED),
        ("{bytes: 9999, percent: 1}", RuleState.PASSED),
        ("{bytes: 10000, percent: 0}", RuleState.PASSED),
    ):
        found = results(tmp_path, f"growth: {{bytes: {step}}}", grown, tiny())
        assert found["growth.bytes"].state is state


def test_a_new_component_is_denied_by_its_name(tmp_path: Path) -> None:
    new = change_footprint(
        [replace(find_row("/usr/bin/vm"), component="network/ssh", section="network")]
    )
    found = results(tmp_path, "new-components: false", new, tiny())
    assert found["new-components network/ssh"].state is RuleState.FAILED


def test_surface_is_counted_and_what_nobody_looked_at_fails(tmp_path: Path) -> None:
    finding = SurfaceFinding(FindingKind.SETUID, "/usr/bin/su", "")
    seen = replace(tiny(), surface=Surface((finding,), (FindingKind.LISTENER,)))
    found = results(tmp_path, "surface: {setuid: 0, login: 0, listener: 0}", seen)
    assert found["surface.setuid"].state is RuleState.FAILED
    assert found["surface.login"].state is RuleState.PASSED
    assert found["surface.listener"].state is RuleState.FAILED
    assert found["surface.listener"].message.startswith("not evaluated")


@pytest.mark.parametrize(
    ("expires", "state"), [("2026-06-01", RuleState.WAIVED), ("2026-05-31", RuleState.FAILED)]
)
def test_a_waiver_holds_until_its_day(tmp_path: Path, expires: str, state: RuleState) -> None:
    text = (
        "totals: {files: 3}\n"
        f"waivers: [{{rule: totals.*, owner: kernel team, because: new kernel, expires: {expires}}}]"
    )
    assert results(tmp_path, text)["totals.files"].state is state


def test_a_waiver_that_nothing_needs_fails(tmp_path: Path) -> None:
    text = "waivers: [{rule: totals.files, owner: o, because: x, expires: 2027-01-01}]"
    assert results(tmp_path, text)["waivers totals.files"].state is RuleState.FAILED


def test_the_manifest_s_own_limits_are_judged_without_a_file() -> None:
    held = replace(tiny(), budget={"files": 4, "packed": 1})
    assert [one.state for one in check_embedded_limits(held)] == [
        RuleState.PASSED,
        RuleState.FAILED,
    ]


def test_the_verdict_counts(tmp_path: Path) -> None:
    found = list(results(tmp_path, "totals: {files: 3, bytes: 2 MB}").values())
    assert not has_passed(found)
    assert summarize_results(found) == "FAIL: 1 of 2 rules"
    assert summarize_results(found[1:]) == "PASS: 1 rules"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("totals: {file: 3}", "file"),
        ("surface: {setuids: 0}", "setuids"),
        ("growth: {size: {bytes: 1}}", "size"),
        ("waivers: [{rule: x, owner: o, because: y, expires: soon}]", "soon"),
        ("waivers: [{rule: x, owner: o, because: y, expires: 2026-02-31}]", "2026-02-31"),
        ("waivers: [{rule: x, owner: o, expires: 2026-02-01}]", "because"),
        ("waivers: [{rule: x, because: y, expires: 2026-02-01}]", "owner"),
        ("waivers: [{rule: '*', owner: o, because: y, expires: 2026-02-01}]", "waives every rule"),
        ("totals: ]", "not YAML"),
    ],
)
def test_a_bad_budget_is_an_error_with_its_place(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ManifestError, match=what) as caught:
        results(tmp_path, text)
    assert "budget.yaml:2" in caught.value.where


def test_new_limits_are_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "budget.yaml"
    text = 'minbuild-budget: 1\ntotals: {files: 3, packed: "1 MB"}  # tight\nunowned: 7 # none\n'
    path.write_text(text, encoding="utf-8")
    budget = load_budget(path)
    found = check_budget(tiny(), budget, baseline=None, today=TODAY)
    changes = [(one.limit, one.actual) for one in found if one.limit is not None]
    assert rewrite_limits(text, changes)[0] == (
        "minbuild-budget: 1\ntotals: {files: 4, packed: 1305007}  # tight\nunowned: 0 # none\n"
    )


def test_a_template_is_not_overwritten() -> None:
    text = "budget:\n  files: \"{{ 'a' }}\"\n  packed: 7\n"
    limits = [
        Limit(1, Location("host.yaml", line, column), is_size=False)
        for line, column in ((2, 10), (3, 11))
    ]
    new, done = rewrite_limits(text, [(one, 5) for one in limits])
    assert new == "budget:\n  files: \"{{ 'a' }}\"\n  packed: 5\n"
    assert done == (limits[1],)


def test_a_waiver_ends_within_a_year(tmp_path: Path) -> None:
    text = "totals: {files: 1}\nwaivers: [{rule: totals.*, owner: o, because: x, expires: %s}]"
    for expires, state in (("2027-06-01", RuleState.WAIVED), ("2027-06-03", RuleState.FAILED)):
        assert results(tmp_path, text % expires)["totals.files"].state is state


def test_ports_are_not_judged_before_a_boot_was_watched(tmp_path: Path) -> None:
    for seen, state in ((False, RuleState.FAILED), (True, RuleState.PASSED)):
        watched = replace(tiny(), surface=Surface(in_lab=seen))
        found = results(tmp_path, "surface: {listener: 0}", watched)
        assert found["surface.listener"].state is state


ALLOWED = {
    "modules: [kvm, tun]": [],
    "module: ['k*', tun]": [],
    "modules: [kvm]": ["surface.module tun"],
    "setuid: []": ["surface.setuid /usr/bin/su"],
    "setuid: [/usr/bin/su]": [],
    "executables: []": [],
}


@pytest.mark.parametrize(("rule", "refused"), ALLOWED.items(), ids=ALLOWED.keys())
def test_what_a_list_does_not_name_fails(tmp_path: Path, rule: str, refused: list[str]) -> None:
    findings = [
        SurfaceFinding(FindingKind.MODULE, "kvm", "/usr/lib/modules/1/kvm.ko"),
        SurfaceFinding(FindingKind.MODULE, "tun", "/usr/lib/modules/1/tun.ko"),
        SurfaceFinding(FindingKind.SETUID, "/usr/bin/su", ""),
    ]
    seen = replace(tiny(), surface=Surface(tuple(findings)))
    found = results(tmp_path, f"surface: {{{rule}}}", seen)
    assert [name for name, one in found.items() if one.state is RuleState.FAILED] == refused
