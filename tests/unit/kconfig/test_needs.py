"""Reasons of options, walked and compared."""

from minbuild.kconfig.model import How, OptionNeed
from minbuild.kconfig.needs import build_option_chain, compare_options, describe_chain

BRIDGE = OptionNeed("BRIDGE", "y", "network/bridge", How.ASKED, "bridge.yaml:1:1")
NET = OptionNeed("NET", "y", "BRIDGE", How.DEPENDS)
CPUS = OptionNeed("NR_CPUS", "8", "", How.DEFAULT)


def test_a_chain_in_words_begins_with_who_asks() -> None:
    needs = {one.name: one for one in (BRIDGE, NET, CPUS)}
    assert describe_chain(build_option_chain(needs, "NET")) == (
        "network/bridge asks for BRIDGE (bridge.yaml:1:1) → NET (depends on)"
    )
    assert describe_chain(build_option_chain(needs, "NR_CPUS")) == "NR_CPUS (default)"


def test_a_circle_of_reasons_ends() -> None:
    needs = {
        "A": OptionNeed("A", "y", "B", How.DEPENDS),
        "B": OptionNeed("B", "y", "A", How.SELECT),
    }
    assert [one.name for one in build_option_chain(needs, "A")] == ["B", "A"]


def test_what_is_asked_for_comes_first_and_values_count() -> None:
    more = OptionNeed("NR_CPUS", "256", "kernel/base", How.ASKED, "base.yaml:9:3")
    changes = compare_options((CPUS,), (NET, more, BRIDGE))
    assert [(one.name, one.before, one.after) for one in changes] == [
        ("BRIDGE", "n", "y"), ("NR_CPUS", "8", "256"), ("NET", "n", "y"),
    ]  # fmt: skip
    back = compare_options((NET, more, BRIDGE), (CPUS,))
    assert {(one.name, one.after, one.before) for one in back} == {
        (one.name, one.before, one.after) for one in changes
    }


def test_an_option_that_is_set_to_n_is_as_one_that_is_not_there() -> None:
    assert compare_options((), (OptionNeed("DEVMEM", "n", "c/a", How.ASKED),)) == ()
