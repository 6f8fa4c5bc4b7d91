"""Closed-world check: no file of a tree needs anything outside of that tree."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from minbuild.facts.model import PackageFiles
from minbuild.paths import USRMERGED
from minbuild.resolve.arch import find_architecture
from minbuild.resolve.builtin_knowledge import PROGRAM_DIRECTORIES
from minbuild.resolve.elf_process import is_program
from minbuild.resolve.graph import build_adjacency, trace_from, trace_path
from minbuild.resolve.model import ChainStart, Closure, Need, NeedKind, ScriptWarning, UnmetNeed
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.policy import DEFAULT_POLICY, ResolvePolicy
from minbuild.resolve.resolution import Resolution
from minbuild.resolve.symbol_check import ModuleSymbolCheck, SymbolCheck
from minbuild.resolve.waivers import Waivers

_TREE = "the tree"


def check_closed_world(
    files: PackageFiles,
    *,
    arch: str,
    policy: ResolvePolicy = DEFAULT_POLICY,
    closure: Closure | None = None,
    waivers: Waivers | None = None,
) -> tuple[UnmetNeed, ...]:
    """List every need of the tree's `files` that the tree itself does not meet; sorted.

    `files` are the tree's own bytes read again, every path among them. `closure`, where there is
    one, gives the chains of needs, and tells what the kernel has built in or never had; softdeps
    are checked only then. Without one a chain starts with a
    ChainStart, then the path. `waivers`: those of `policy`, for a caller that asks afterwards which
    were used.
    """
    view = PackageView([files], merged=False)
    waivers = waivers or Waivers(policy.drop, policy.allow_missing)
    version = closure.kernel_release if closure else ""
    resolution = Resolution(view, find_architecture(arch), policy, waivers, version=version)
    if closure is not None:
        resolution.state.require_softdeps = True
        resolution.state.known_builtin = closure.builtin_modules
        resolution.state.known_skipped = closure.skipped_softdeps
    for path in files.entries:
        resolution.add(Need(path, _TREE, NeedKind.ROOT, ""))
    resolution.follow_needs()
    symbols = SymbolCheck(view)
    unmet_symbols = {
        each
        for process in resolution.state.loader.processes
        for each in symbols.find_unmet(process)
    }
    unmet_symbols |= set(ModuleSymbolCheck(view).find_unmet())
    missing_files = _find_missing_files(files, closure) if closure is not None else ()
    unmet_needs = {
        *resolution.unmet_needs,
        *(each for each in (*unmet_symbols, *missing_files) if not waivers.allows(each)),
    }
    chained = (
        _add_chains(unmet_needs, closure)
        if closure is not None
        else _trace_to_programs(unmet_needs, resolution)
    )
    return tuple(
        sorted(
            chained,
            key=lambda each: (each.kind, each.wanted, each.by, each.evidence),
        )
    )


def is_minor(unmet: UnmetNeed) -> bool:
    """Tell whether a finding of a foreign root keeps nothing from starting.

    Strong: programs, kernel modules, scripts and links in directories of programs, and links like
    /lib. Weak is what may never be used: a plug-in, an example, firmware of a device
    that is not there.
    """
    origin, directory = unmet.chain[0], unmet.by.rpartition("/")[0]
    if origin in (ChainStart.SCRIPT, ChainStart.LINK):
        return directory not in PROGRAM_DIRECTORIES and unmet.wanted.lstrip("/") not in USRMERGED
    return origin in (ChainStart.LIBRARY, ChainStart.FILE) or unmet.kind is NeedKind.FIRMWARE


_KINDS_WITH_ALTERNATIVES = (NeedKind.FIRMWARE, NeedKind.DATA, NeedKind.DLOPEN)
"""Needs that another file may seem to meet: globs, alternatives."""
_KERNEL_KINDS = (NeedKind.MODULE, NeedKind.KCONFIG, NeedKind.REQUEST)
"""Needs of components for which no file of the tree speaks: a data partition's file system."""


def _find_missing_files(files: PackageFiles, closure: Closure) -> Iterator[UnmetNeed]:
    """Files that a closure chose for a need, and that the tree has not."""
    for need in closure.needs:
        if need.path not in files.entries and _is_missed_by_closure(need, files):
            yield UnmetNeed(need.kind, need.path, need.needed_by, "", need.evidence)


def _is_missed_by_closure(need: Need, files: PackageFiles) -> bool:
    """Tell whether the tree's own files do not show a need: its evidence is elsewhere."""
    if not need.needed_by.startswith("/"):
        return need.kind in _KERNEL_KINDS
    is_configured = need.kind is NeedKind.REQUEST and need.evidence.startswith("CONFIG_")
    return need.needed_by in files.entries and (
        is_configured or need.kind in _KINDS_WITH_ALTERNATIVES
    )


def _add_chains(unmet_needs: set[UnmetNeed], closure: Closure) -> list[UnmetNeed]:
    origins = dict.fromkeys(
        need.needed_by for need in closure.needs if not need.needed_by.startswith("/")
    )
    edges = build_adjacency((need.needed_by, need.path) for need in closure.needs)
    _, predecessors = trace_from(sorted(origins), edges)
    return [replace(each, chain=trace_path(each.by, predecessors)) for each in unmet_needs]


def _trace_to_programs(unmet_needs: set[UnmetNeed], resolution: Resolution) -> list[UnmetNeed]:
    """Chains of a foreign root: each from the program that leads there by the shortest way."""
    programs = sorted(
        process.main.path
        for process in resolution.state.loader.processes
        if is_program(process.main.elf)
    )
    loads = (NeedKind.NEEDED, NeedKind.DLOPEN, NeedKind.INTERP, NeedKind.LINK)
    edges = build_adjacency(
        (need.needed_by, need.path) for need in resolution.needs if need.kind in loads
    )
    reached, predecessors = trace_from(programs, edges)
    chained = []
    for unmet in unmet_needs:
        is_loaded = unmet.by in reached and unmet.kind is not NeedKind.LINK
        origin = ChainStart.PROGRAM if is_loaded else unmet.kind.chain_start
        chained.append(replace(unmet, chain=(origin, *trace_path(unmet.by, predecessors))))
    return chained


@dataclass(frozen=True, slots=True)
class RootCheck:
    """A root that was checked."""

    name: str
    arch: str
    """That of most of its programs."""
    paths: int
    dangling: tuple[UnmetNeed, ...]
    """Sorted."""
    warnings: tuple[ScriptWarning, ...] = ()
    """Commands of its scripts that it has not; sorted."""


def split_by_severity(
    check: RootCheck, *, strict: bool = False
) -> tuple[list[UnmetNeed], list[UnmetNeed]]:
    """Split unmet needs into those that keep something from starting and weak ones; sorted."""
    starts = [*ChainStart]
    ordered = sorted(check.dangling, key=lambda one: starts.index(ChainStart(one.chain[0])))
    weak = [] if strict else [need for need in ordered if is_minor(need)]
    return [need for need in ordered if strict or not is_minor(need)], weak
