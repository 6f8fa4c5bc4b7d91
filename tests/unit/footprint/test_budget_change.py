"""What a change makes of the gate: shown, and refused until a person has approved."""

from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.footprint.budget_change import check_baseline_change, check_budget_change, list_rules
from minbuild.footprint.budget_result import RuleState
from minbuild.manifest.budget_document import load_budget
from minbuild.manifest.limits import Budget
from tests.support.footprint_variants import change_footprint, find_row
from tests.support.footprints import tiny

BASE = """\
totals: {files: 9, packed: 2 MB}
components: {"*": {bytes: 8 MB}}
surface: {setuid: 0, modules: [kvm, tun]}
partitions: {esp: {size: 4 MB, slots: 2}}
growth: {packed: {bytes: 1 MB, percent: 1}}
deny: {paths: [/usr/bin/perl]}
waivers: [{rule: totals.files, owner: o, because: x, expires: 2027-01-01}]
"""
CHANGES = {
    ("files: 9", "files: 10"): "totals.files 9 -> 10",
    ("bytes: 8 MB}}", "bytes: 9 MB}}"): "components.*.limits.bytes 8,000,000 -> 9,000,000",
    ("setuid: 0", "setuid: 1"): "surface.setuid.allowed 0 -> 1",
    ("[kvm, tun]", "[kvm, tun, nfsd]"): "surface.module.allowed [kvm, tun] -> [kvm, nfsd, tun]",
    ("setuid: 0, ", ""): "surface.setuid there -> none",
    ("slots: 2", "slots: 1"): "partitions.esp.partition.slots 2 -> 1",
    ("bytes: 1 MB,", "bytes: 9 MB,"): "growth.packed.step.bytes 1,000,000 -> 9,000,000",
    ("[/usr/bin/perl]", "[]"): "deny.paths [/usr/bin/perl] -> []",
    ("expires: 2027-01-01", "expires: 2027-05-01"): "waivers.totals.files.expires 2027-01-01 -> 2027-05-01",
    ("waivers: [", "waivers: [{rule: surface.setuid, owner: o, because: x, expires: 2027-01-01}, "): "waivers.surface.setuid none -> there",
}  # fmt: skip


def budget(tmp_path: Path, text: str) -> Budget:
    path = tmp_path / "budget.yaml"
    path.write_text(f"minbuild-budget: 1\n{text}", encoding="utf-8")
    return load_budget(path)


def test_a_budget_that_stays_passes_wherever_its_rules_stand(tmp_path: Path) -> None:
    base, moved = budget(tmp_path, BASE), budget(tmp_path, f"# moved\n\n{BASE}")
    assert base != moved
    assert check_budget_change(base, moved, approved=False).state is RuleState.PASSED


@pytest.mark.parametrize(("change", "said"), CHANGES.items(), ids=CHANGES.values())
def test_each_change_of_a_budget_is_shown_and_needs_a_person(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    base = budget(tmp_path, BASE)
    assert BASE.count(change[0]) == 1
    other = budget(tmp_path, BASE.replace(*change))
    result = check_budget_change(base, other, approved=False)
    assert result.state is RuleState.FAILED
    assert said in result.message
    assert check_budget_change(base, other, approved=True).state is RuleState.WAIVED


def test_a_budget_that_is_gone_fails_whoever_approves(tmp_path: Path) -> None:
    for approved in (False, True):
        result = check_budget_change(budget(tmp_path, BASE), None, approved=approved)
        assert result.state is RuleState.FAILED
        assert "removes the budget" in result.message


def test_every_rule_of_a_budget_has_a_name(tmp_path: Path) -> None:
    rules = list_rules(budget(tmp_path, BASE))
    assert rules["totals.packed"] == "2,000,000"
    assert rules["waivers.totals.files.owner"] == "o"
    assert not any(name.startswith(".") for name in rules)


def test_a_baseline_is_the_branch_s_or_the_image_s() -> None:
    image = change_footprint([replace(find_row("/usr/bin/vm"), size=9_000)])
    other = change_footprint([replace(find_row("/usr/bin/vm"), size=8_000)])
    assert check_baseline_change(tiny(), tiny(), image).state is RuleState.PASSED
    assert check_baseline_change(tiny(), image, image).state is RuleState.PASSED
    assert check_baseline_change(None, image, image).state is RuleState.PASSED
    assert check_baseline_change(tiny(), other, image).state is RuleState.FAILED
    assert check_baseline_change(None, other, image).state is RuleState.FAILED
