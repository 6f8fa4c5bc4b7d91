"""Budgets: each kind of rule, waivers, baselines."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from minbuild.errors import ManifestError
from minbuild.footprint.gate import Result, State, judge, judge_embedded, passed, verdict
from minbuild.footprint.types import Finding, FindingKind, Footprint, Surface
from minbuild.manifest.budget import load_budget, rewrite
from minbuild.manifest.limits import Limit
from minbuild.manifest.types import Where
from tests.support.changed import changed, row
from tests.support.footprints import tiny

TODAY = date(2026, 6, 1)


def results(
    tmp_path: Path, text: str, footprint: Footprint | None = None, baseline: Footprint | None = None
) -> dict[str, Result]:
    """What comes of a budget: result by rule."""
    path = tmp_path / "budget.yaml"
    path.write_text(f"minbuild-budget: 1\n{text}\n", encoding="utf-8")
    found = judge(
        footprint or tiny(), load_budget(path), baseline=baseline, today=TODAY
    )  # fmt: skip
    return {one.rule: one for one in found}


@pytest.mark.parametrize(
    ("text", "rule", "state"),
    [
        ("totals: {files: 4}", "totals.files", State.PASSED),
        ("totals: {files: 3}", "totals.files", State.FAILED),
        ("totals: {packed: 1.3 MB}", "totals.packed", State.FAILED),
        ("sections: {boot: {bytes: 1 MB}}", "sections.boot.bytes", State.PASSED),
        ('components: {"*": {bytes: 500 kB}}', "components.boot/init.bytes", State.FAILED),
        ('components: {"*": {bytes: 1}, boot/init: {bytes: 1 MB}}', "components.boot/init.bytes", State.PASSED),
        ("packages: {busybox: {files: 0}}", "packages.busybox.files", State.FAILED),
        ("partitions: {esp: {size: 4 MB, slots: 2, reserve: 30}}", "partitions.esp", State.PASSED),
        ("partitions: {esp: {size: 4 MB, slots: 2, reserve: 40}}", "partitions.esp", State.FAILED),
        ("deny: {paths: [/usr/bin/v*]}", "deny.paths /usr/bin/v*", State.FAILED),
        ("deny: {packages: [perl*]}", "deny.packages perl*", State.PASSED),
        ("deny: {components: [hypervisor/*]}", "deny.components hypervisor/*", State.FAILED),
        ("unowned: 0", "unowned", State.PASSED),
        ("shrink: 10\ntotals: {files: 9}", "shrink.files", State.FAILED),
        ("growth: {packed: {bytes: 0}}", "growth.packed", State.SKIPPED),
        ("new-components: false", "new-components", State.SKIPPED),
    ],
)  # fmt: skip
def test_each_kind_of_rule(tmp_path: Path, text: str, rule: str, state: State) -> None:
    assert results(tmp_path, text)[rule].state is state


def test_growth_fails_only_above_bytes_and_percent_both(tmp_path: Path) -> None:
    grown = changed([replace(row("/usr/bin/busybox"), size=710_000)])
    for step, state in (
        ("{bytes: 9999, percent: 0}", State.FAILED),
        ("{bytes: 9999, percent: 1}", State.PASSED),
        ("{bytes: 10000, percent: 0}", State.PASSED),
    ):
        found = results(tmp_path, f"growth: {{bytes: {step}}}", grown, tiny())
        assert found["growth.bytes"].state is state


def test_a_new_component_is_denied_by_its_name(tmp_path: Path) -> None:
    new = changed([replace(row("/usr/bin/vm"), component="network/ssh", section="network")])
    found = results(tmp_path, "new-components: false", new, tiny())
    assert found["new-components network/ssh"].state is State.FAILED


def test_surface_is_counted_and_what_nobody_looked_at_fails(tmp_path: Path) -> None:
    finding = Finding(FindingKind.SETUID, "/usr/bin/su", "")
    seen = replace(tiny(), surface=Surface((finding,), (FindingKind.LISTENER,)))
    found = results(tmp_path, "surface: {setuid: 0, login: 0, listener: 0}", seen)
    assert found["surface.setuid"].state is State.FAILED
    assert found["surface.login"].state is State.PASSED
    assert found["surface.listener"].state is State.FAILED
    assert found["surface.listener"].said.startswith("not evaluated")


@pytest.mark.parametrize(
    ("expires", "state"), [("2026-06-01", State.WAIVED), ("2026-05-31", State.FAILED)]
)
def test_a_waiver_holds_until_its_day(tmp_path: Path, expires: str, state: State) -> None:
    text = (
        "totals: {files: 3}\n"
        f"waivers: [{{rule: totals.*, owner: kernel team, because: new kernel, expires: {expires}}}]"
    )
    assert results(tmp_path, text)["totals.files"].state is state


def test_a_waiver_that_nothing_needs_fails(tmp_path: Path) -> None:
    text = "waivers: [{rule: totals.files, owner: o, because: x, expires: 2027-01-01}]"
    assert results(tmp_path, text)["waivers totals.files"].state is State.FAILED


def test_the_manifest_s_own_limits_are_judged_without_a_file() -> None:
    held = replace(tiny(), budget={"files": 4, "packed": 1})
    assert [one.state for one in judge_embedded(held)] == [State.PASSED, State.FAILED]


def test_the_verdict_counts(tmp_path: Path) -> None:
    found = list(results(tmp_path, "totals: {files: 3, bytes: 2 MB}").values())
    assert not passed(found)
    assert verdict(found) == "FAIL: 1 of 2 rules"
    assert verdict(found[1:]) == "PASS: 1 rules"


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
    found = judge(tiny(), budget, baseline=None, today=TODAY)
    changes = [(one.limit, one.actual) for one in found if one.limit is not None]
    assert rewrite(text, changes)[0] == (
        "minbuild-budget: 1\ntotals: {files: 4, packed: 1305007}  # tight\nunowned: 0 # none\n"
    )


def test_a_template_is_not_overwritten() -> None:
    text = "budget:\n  files: \"{{ 'a' }}\"\n  packed: 7\n"
    limits = [
        Limit(1, Where("host.yaml", line, column), is_size=False)
        for line, column in ((2, 10), (3, 11))
    ]
    new, done = rewrite(text, [(one, 5) for one in limits])
    assert new == "budget:\n  files: \"{{ 'a' }}\"\n  packed: 5\n"
    assert done == (limits[1],)


def test_a_waiver_ends_within_a_year(tmp_path: Path) -> None:
    text = "totals: {files: 1}\nwaivers: [{rule: totals.*, owner: o, because: x, expires: %s}]"
    for expires, state in (("2027-06-01", State.WAIVED), ("2027-06-03", State.FAILED)):
        assert results(tmp_path, text % expires)["totals.files"].state is state


def test_ports_are_not_judged_before_a_boot_was_watched(tmp_path: Path) -> None:
    for seen, state in ((False, State.FAILED), (True, State.PASSED)):
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
        Finding(FindingKind.MODULE, "kvm", "/usr/lib/modules/1/kvm.ko"),
        Finding(FindingKind.MODULE, "tun", "/usr/lib/modules/1/tun.ko"),
        Finding(FindingKind.SETUID, "/usr/bin/su", ""),
    ]
    seen = replace(tiny(), surface=Surface(tuple(findings)))
    found = results(tmp_path, f"surface: {{{rule}}}", seen)
    assert [name for name, one in found.items() if one.state is State.FAILED] == refused
