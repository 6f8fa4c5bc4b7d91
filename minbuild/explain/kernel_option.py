"""Explanation of a kernel option: the chain of needs from a component to it."""

from dataclasses import dataclass

from minbuild.errors import find_close_name
from minbuild.kconfig.model import KernelOptions, OptionNeed

PREFIX = "CONFIG_"


@dataclass(frozen=True, slots=True)
class OptionExplanation:
    """The answer for one option."""

    name: str
    """Without CONFIG_."""
    version: str
    """Of the kernel."""
    chain: tuple[OptionNeed, ...]
    """From what a component asks for down to the option; () where it is off."""
    needed_by: tuple[str, ...]
    """Options and components that want this one themselves, sorted."""
    similar: str = ""
    """An option that is on and has a name like it."""


def explain_option(options: KernelOptions, name: str) -> OptionExplanation:
    """Say why an option is on; `name` with or without CONFIG_."""
    name = name.removeprefix(PREFIX)
    need = options.needs.get(name)
    if need is None:
        similar = find_close_name(name, options.needs)
        return OptionExplanation(name, options.version, (), (), similar)
    chain = [need]
    while chain[0].by in options.needs and chain[0].by not in {one.name for one in chain}:
        chain.insert(0, options.needs[chain[0].by])
    wanting = {one.by for one in options.requests if one.name == name} | {need.by} - {""}
    return OptionExplanation(name, options.version, tuple(chain), tuple(sorted(wanting)))
