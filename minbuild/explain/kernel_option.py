"""Explanation of a kernel option: the chain of needs from a component to it, and what it leads to."""

from collections.abc import Sequence
from dataclasses import dataclass

from minbuild.errors import UsageError, find_close_name
from minbuild.kconfig.model import KernelOptions, OptionNeed
from minbuild.kconfig.needs import PREFIX, build_option_chain, list_enabled


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
    chain = build_option_chain(options.needs, name)
    wanting = {one.by for one in options.requests if one.name == name} | {need.by} - {""}
    return OptionExplanation(name, options.version, chain, tuple(sorted(wanting)))


@dataclass(frozen=True, slots=True)
class OptionBranch:
    """An option, and those that are on because of it."""

    need: OptionNeed
    branches: tuple["OptionBranch", ...]
    """By name."""

    @property
    def count(self) -> int:
        """It, and all that it leads to."""
        return 1 + sum(branch.count for branch in self.branches)


def grow_option_tree(options: Sequence[OptionNeed], name: str) -> OptionBranch:
    """What an option leads to; each option stands below the one that is its first reason.

    Raises: UsageError where the option is off, or the kernel's options are not known.
    """
    needs, name = _require_option(options, name)
    by: dict[str, list[OptionNeed]] = {}
    for need in needs.values():
        by.setdefault(need.by, []).append(need)

    def grow(need: OptionNeed, seen: frozenset[str]) -> OptionBranch:
        inner = seen | {need.name}
        below = [one for one in by.get(need.name, ()) if one.name not in inner]
        return OptionBranch(need, tuple(grow(one, inner) for one in below))

    return grow(needs[name], frozenset())


def check_options_on(options: Sequence[OptionNeed], names: Sequence[str]) -> tuple[str, ...]:
    """Names without CONFIG_. Raises: UsageError for the first that is off."""
    return tuple(_require_option(options, name)[1] for name in names)


def _require_option(options: Sequence[OptionNeed], name: str) -> tuple[dict[str, OptionNeed], str]:
    needs = {need.name: need for need in list_enabled(options)}
    name = name.removeprefix(PREFIX)
    if name not in needs:
        similar = find_close_name(name, needs)
        raise UsageError(
            f"{PREFIX}{name} is off in this kernel"
            if needs
            else "the options of this kernel are not known: it was not built for the host",
            fix=f"did you mean {PREFIX}{similar}?"
            if similar
            else "build a kernel (kernel: {build: linux-source-6.12}), and name an option that is on",
        )
    return needs, name
