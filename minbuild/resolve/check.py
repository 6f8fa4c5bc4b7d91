"""The closed world: nothing in a tree needs anything outside of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from minbuild.facts.types import Files
from minbuild.manifest.rule import NO_RULES, Rulebook
from minbuild.manifest.types import DlopenRule, Waiver
from minbuild.paths import MERGED
from minbuild.resolve.book import Book
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.graph import adjacency, reached_from, way
from minbuild.resolve.knowledge import PROGRAM_DIRECTORIES
from minbuild.resolve.ksymbols import ModuleSymbolCheck
from minbuild.resolve.machine import machine
from minbuild.resolve.process import is_program
from minbuild.resolve.resolve import Work
from minbuild.resolve.symbols import SymbolCheck
from minbuild.resolve.types import Closure, Missing, Need, NeedKind
from minbuild.resolve.waivers import Waivers

_TREE = "the tree"
PROGRAM, SCRIPT, LIBRARY, MODULE, LINK, FILE = STARTS = (
    "program", "script", "library", "module", "link", "file",
)  # fmt: skip
"""Why something in a foreign root is looked at; a library: one that no program there loads."""
STARTS_BY: Mapping[NeedKind, str] = {
    NeedKind.ROOT: FILE,
    NeedKind.PARENT: FILE,
    NeedKind.NEEDED: LIBRARY,
    NeedKind.DLOPEN: LIBRARY,
    NeedKind.INTERP: PROGRAM,
    NeedKind.SHEBANG: SCRIPT,
    NeedKind.EXEC: SCRIPT,
    NeedKind.MODULE: MODULE,
    NeedKind.SOFTDEP: MODULE,
    NeedKind.FIRMWARE: MODULE,
    NeedKind.LINK: LINK,
    NeedKind.DATA: FILE,
    NeedKind.STRING: FILE,
    NeedKind.KCONFIG: FILE,
    NeedKind.GENERATED: FILE,
}
"""How a chain of a foreign root starts that no program leads to."""


def check(
    files: Files,
    *,
    arch: str,
    drop: Sequence[Waiver] = (),
    allow_missing: Sequence[Waiver] = (),
    closure: Closure | None = None,
    dlopen: Sequence[DlopenRule] = (),
    rulebook: Rulebook = NO_RULES,
    waivers: Waivers | None = None,
) -> tuple[Missing, ...]:
    """List every need of the tree's `files` that the tree itself does not meet; sorted.

    `files` are the tree's own bytes read again, every path among them. `closure`, where there is
    one, gives the chains of needs, and tells what the kernel has built in or never had; softdeps
    are checked only then. Without one a chain starts with what is looked at and why: one of
    STARTS, then the path. `waivers`: instead of `drop` and `allow_missing`, to ask it afterwards
    what was used.
    """
    catalog = Catalog([files], merged=False)
    waivers = waivers or Waivers(drop, allow_missing)
    version = closure.kernel if closure else ""
    work = Work(catalog, machine(arch), waivers, dlopen=dlopen, version=version)
    work.world.book = Book(rulebook)
    if closure is not None:
        work.world.strict = True
        work.world.known_builtin = closure.builtin
        work.world.known_absent = closure.absent
    work.begin(Need(path, _TREE, NeedKind.ROOT, "") for path in files.entries)
    work.run()
    symbols = SymbolCheck(catalog)
    unmet = {each for process in work.world.loader.processes for each in symbols.unmet(process)}
    unmet |= set(ModuleSymbolCheck(catalog).unmet())
    lost = _lost(files, closure) if closure is not None else ()
    found = {*work.missing, *(each for each in (*unmet, *lost) if not waivers.allows(each))}
    chained = _with_chains(found, closure) if closure is not None else _traced(found, work)
    return tuple(
        sorted(
            chained,
            key=lambda each: (each.kind, each.wanted, each.by, each.evidence),
        )
    )


def is_weak(found: Missing) -> bool:
    """Tell whether a finding of a foreign root keeps nothing from starting.

    Strong are programs, kernel modules, scripts and links where programs are looked for, and /lib
    and the like. Weak is what somebody may never use: a plug-in, an example, firmware of a device
    that is not there.
    """
    start, directory = found.chain[0], found.by.rpartition("/")[0]
    if start in (SCRIPT, LINK):
        return directory not in PROGRAM_DIRECTORIES and found.wanted.lstrip("/") not in MERGED
    return start in (LIBRARY, FILE) or found.kind is NeedKind.FIRMWARE


_ONE_OF_MANY = (NeedKind.FIRMWARE, NeedKind.DATA, NeedKind.DLOPEN)
"""Needs that another file may seem to meet: globs, alternatives."""


def _lost(files: Files, closure: Closure) -> Iterator[Missing]:
    """Files that a closure chose for a need, and that the tree has not."""
    for need in closure.needs:
        if (
            need.kind in _ONE_OF_MANY
            and need.path not in files.entries
            and need.by in files.entries
        ):
            yield Missing(need.kind, need.path, need.by, "", need.evidence)


def _with_chains(found: set[Missing], closure: Closure) -> list[Missing]:
    starts = dict.fromkeys(need.by for need in closure.needs if not need.by.startswith("/"))
    edges = adjacency((need.by, need.path) for need in closure.needs)
    _, before = reached_from(sorted(starts), edges)
    return [replace(each, chain=way(each.by, before)) for each in found]


def _traced(found: set[Missing], work: Work) -> list[Missing]:
    """Chains of a foreign root: each from the program that leads there by the shortest way."""
    programs = sorted(
        process.main.path for process in work.world.loader.processes if is_program(process.main.elf)
    )
    loads = (NeedKind.NEEDED, NeedKind.DLOPEN, NeedKind.INTERP, NeedKind.LINK)
    edges = adjacency((need.by, need.path) for need in work.needs if need.kind in loads)
    reached, before = reached_from(programs, edges)
    chained = []
    for each in found:
        start = PROGRAM if each.by in reached else STARTS_BY[each.kind]
        start = LINK if each.kind is NeedKind.LINK else start
        chained.append(replace(each, chain=(start, *way(each.by, before))))
    return chained
