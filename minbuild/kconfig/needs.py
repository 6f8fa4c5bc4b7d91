"""Reasons of a kernel's options, walked: up to the component that asks, down to what an option leads to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from minbuild.kconfig.model import How, OptionNeed

PREFIX = "CONFIG_"


@dataclass(frozen=True, slots=True)
class OptionChange:
    """An option whose value differs between two kernels."""

    name: str
    before: str
    """"n" where it was off."""
    after: str
    chain: tuple[OptionNeed, ...]
    """From what a component asks for down to it: in the later kernel, or where it is off there, in the earlier."""


def list_enabled(options: Iterable[OptionNeed]) -> tuple[OptionNeed, ...]:
    """Options that are not off, in the order given."""
    return tuple(need for need in options if need.value != "n")


def build_option_chain(needs: Mapping[str, OptionNeed], name: str) -> tuple[OptionNeed, ...]:
    """From what a component asks for down to an option that has a need."""
    chain = [needs[name]]
    while chain[0].by in needs and chain[0].by not in {one.name for one in chain}:
        chain.insert(0, needs[chain[0].by])
    return tuple(chain)


def describe_chain(chain: tuple[OptionNeed, ...]) -> str:
    """A chain in one line: `kernel/base asks for X86_X2APIC (base.yaml:9:3) → IRQ_REMAP (depends on)`."""
    first = chain[0]
    if first.how is How.ASKED:
        evidence = f" ({first.evidence})" if first.evidence else ""
        steps = [f"{first.by} asks for {first.name}{evidence}"]
    else:
        steps = [f"{first.name} ({first.how})"]
    return " → ".join([*steps, *(f"{need.name} ({need.how})" for need in chain[1:])])


def compare_options(
    before: Iterable[OptionNeed], after: Iterable[OptionNeed]
) -> tuple[OptionChange, ...]:
    """Options whose values differ: those that somebody asks for first, then by name."""
    needs_before = {need.name: need for need in list_enabled(before)}
    needs_after = {need.name: need for need in list_enabled(after)}
    changes = []
    for name in sorted(needs_before.keys() | needs_after.keys()):
        old, new = needs_before.get(name), needs_after.get(name)
        values = (old.value if old else "n", new.value if new else "n")
        if values[0] != values[1]:
            chain = build_option_chain(needs_after if new else needs_before, name)
            changes.append(OptionChange(name, *values, chain))
    return tuple(sorted(changes, key=lambda one: (one.chain[-1].how is not How.ASKED, one.name)))
