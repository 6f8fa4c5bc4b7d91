"""Removal of options from a kernel: the configuration is resolved again without them."""

from collections.abc import Collection
from dataclasses import dataclass

from minbuild.kconfig.model import KernelOptions, OptionNeed, OptionRequest
from minbuild.kconfig.needs import list_enabled
from minbuild.kconfig.resolution import meet_requests
from minbuild.kconfig.tree import OptionTree

_BY = "--without"
_SET_OFF = f"{_BY} sets to n ({_BY})"
"""How a resolution says of an option that this module turns it off."""


@dataclass(frozen=True, slots=True)
class OptionRemoval:
    """A kernel without something."""

    gone: tuple[OptionNeed, ...]
    """Options that would be off, by name, with the reason that they have now."""
    new: tuple[str, ...]
    """Options that would be on in place of others, sorted."""
    broken: tuple[tuple[OptionRequest, str], ...]
    """Requests that could not be met any more, and why; by name of the option."""


def remove_options(
    tree: OptionTree,
    options: KernelOptions,
    names: Collection[str],
    components: Collection[str] = (),
) -> OptionRemoval:
    """Turn `names` off, and take the requests of `components` away; `tree` is changed."""
    off = {name: OptionRequest(name, "n", _BY, _BY) for name in sorted(names)}
    asked = [one for one in options.requests if one.by not in components]
    wanted = [one for one in asked if one.name not in off]
    broken = {one: "it would be off" for one in asked if one.name in off and one.value != "n"}
    while True:
        tree.clear()
        failures, _ = meet_requests(tree, [*wanted, *off.values()])
        if not failures:
            break
        for request, reason in failures:
            if request.by != _BY:
                broken[request] = reason.replace(_SET_OFF, "would be off")
                wanted.remove(request)
                continue
            selector = tree.find_active_selector(request.name)
            del off[request.name]
            if selector and selector not in off and tree.is_settable(selector):
                # what selects it goes first, and takes it along
                off[selector] = OptionRequest(selector, "n", _BY, _BY)
                wanted = [one for one in wanted if not _asks_for(one, selector, broken, request)]
            else:
                broken[request] = reason
    active = {name for name, _ in tree.list_active()}
    before = {need.name: need for need in list_enabled(options.needs.values())}
    gone = tuple(need for name, need in sorted(before.items()) if name not in active)
    by_name = sorted(broken.items(), key=lambda item: (item[0].name, item[0].by))
    return OptionRemoval(gone, tuple(sorted(active - before.keys())), tuple(by_name))


def _asks_for(
    request: OptionRequest, selector: str, broken: dict[OptionRequest, str], cause: OptionRequest
) -> bool:
    """Whether a request is for an option that selects what is to go; it is noted as broken then."""
    if request.name != selector or request.value == "n":
        return False
    broken[request] = f"it selects {cause.name}"
    return True
