"""Rules of a budget about a kernel's options, in a check, a diff and a tree."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.cli.main import run_command_line
from minbuild.errors import ManifestError
from minbuild.footprint.budget_check import check_budget
from minbuild.footprint.budget_result import RuleState
from minbuild.footprint.document import render_footprint
from minbuild.kconfig.model import How, OptionNeed
from minbuild.manifest.budget_document import load_budget
from tests.support.footprints import tiny
from tests.unit.footprint.test_budget_check import TODAY

OPTIONS = (
    OptionNeed("BRIDGE", "y", "network/bridge", How.ASKED, "bridge.yaml:1:1"),
    OptionNeed("DEVMEM", "n", "kernel/base", How.ASKED),
    OptionNeed("NET", "y", "BRIDGE", How.DEPENDS),
    OptionNeed("NR_CPUS", "256", "kernel/base", How.ASKED),
    OptionNeed("STP", "y", "BRIDGE", How.SELECT),
)
BUILT = replace(tiny(), kernel_options=OPTIONS)


def _check(
    tmp_path: Path, rules: str, *, is_built: bool = True
) -> dict[str, tuple[RuleState, str]]:
    path = tmp_path / "budget.yaml"
    path.write_text(f"minbuild-budget: 1\nkernel: {rules}\n")
    footprint = BUILT if is_built else tiny()
    results = check_budget(footprint, load_budget(path), baseline=None, today=TODAY)
    assert all(one.where is not None and one.where.line == 2 for one in results)
    assert all(one.fix for one in results if one.state is RuleState.FAILED)
    return {one.rule: (one.state, one.message) for one in results}


@pytest.mark.parametrize(
    ("rules", "rule", "state", "message"),
    [
        ("{options: 3}", "kernel.options", RuleState.PASSED, "3 of 3"),
        ("{options: 2}", "kernel.options", RuleState.FAILED, "3 of 2, 1 too many"),
        ("{required: [CONFIG_NET]}", "kernel.required CONFIG_NET", RuleState.PASSED, "it is y"),
        ("{required: [DEVMEM]}", "kernel.required DEVMEM", RuleState.FAILED, "it is n"),
        ("{required: [NR_CPUS=256]}", "kernel.required NR_CPUS=256", RuleState.PASSED, "it is 256"),
        ("{required: [NR_CPUS=8]}", "kernel.required NR_CPUS=8", RuleState.FAILED, "it is 256"),
        ("{forbidden: [DEVMEM]}", "kernel.forbidden DEVMEM", RuleState.PASSED, "off"),
        ("{forbidden: ['*T*']}", "kernel.forbidden *T*", RuleState.FAILED, "on: NET, STP"),
        ("{allowed: [BRIDGE, N*]}", "kernel.allowed STP", RuleState.FAILED, "it is not in the list"),
        ("{allowed: ['*']}", "kernel.allowed", RuleState.PASSED, "4 options, each in the list"),
    ],
)  # fmt: skip
def test_options_are_counted_required_forbidden_and_allowed(
    tmp_path: Path, rules: str, rule: str, state: RuleState, message: str
) -> None:
    assert _check(tmp_path, rules) == {rule: (state, message)}


def test_a_kernel_that_is_not_known_meets_no_rule(tmp_path: Path) -> None:
    rules = "{options: 900, required: [NET], forbidden: [DEVMEM], allowed: []}"
    results = _check(tmp_path, rules, is_built=False)
    assert len(results) == 4
    assert {state for state, _ in results.values()} == {RuleState.FAILED}


def test_a_name_that_no_option_can_have_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="an option"):
        _check(tmp_path, "{forbidden: ['dev/mem']}")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command, and gives what it prints."""

    def run_words(*words: str) -> str:
        assert run_command_line(list(words)) == 0
        return capsys.readouterr().out

    return run_words


@pytest.fixture
def footprints(tmp_path: Path) -> tuple[str, str]:
    """Two builds' footprints: without the bridge, and with it."""
    paths = []
    for name, options in (("before", OPTIONS[3:4]), ("after", OPTIONS)):
        path = tmp_path / name / "footprint.json"
        path.parent.mkdir()
        path.write_text(render_footprint(replace(BUILT, kernel_options=options)))
        paths.append(str(path))
    return paths[0], paths[1]


def test_a_diff_says_which_options_are_new_and_why(
    footprints: tuple[str, str], run: Callable[..., str]
) -> None:
    text = run("diff", *footprints)
    assert "new: CONFIG_BRIDGE=y, because network/bridge asks for BRIDGE (bridge.yaml:1:1)" in text
    assert text.count("→ STP (select)") == 1
    rows = json.loads(run("diff", "--json", *footprints))["kernel_options"]
    assert [(row["name"], row["before"], row["after"]) for row in rows] == [
        ("BRIDGE", "n", "y"), ("NET", "n", "y"), ("STP", "n", "y"),
    ]  # fmt: skip
    assert "gone: CONFIG_STP=y" in run("diff", *reversed(footprints))
    assert "option,CONFIG_NET,0," in run("diff", "--csv", *footprints)
    assert "Kernel options" in run("diff", "--md", *footprints)


def test_a_tree_of_an_option_has_what_comes_with_it(
    footprints: tuple[str, str], run: Callable[..., str]
) -> None:
    assert run("tree", footprints[1], "CONFIG_BRIDGE") == (
        "CONFIG_BRIDGE=y  asked for  bridge.yaml:1:1\n"
        "└─ NET=y  depends on\n"
        "└─ STP=y  select\n"
        "2 options come with it\n"
    )
    document = json.loads(run("tree", "--json", footprints[1], "CONFIG_BRIDGE"))
    assert [one["option"] for one in document["leads_to"]] == ["NET", "STP"]
