"""What one program brings into its address space."""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minbuild.facts.types import Elf, Symbols
from minbuild.paths import RootPath
from minbuild.resolve.knowledge import UNWINDS
from minbuild.resolve.types import Missing, Need

if TYPE_CHECKING:
    from minbuild.resolve.musl import Musl


@dataclass(eq=False, slots=True)
class Loaded:
    """One object in a process."""

    path: RootPath
    """Real path."""
    named: RootPath
    """Path that was opened: may be a link to `path`."""
    elf: Elf
    origin: str
    """What $ORIGIN stands for."""
    loader: "Loaded | None"
    """Who asked first."""
    lineage: tuple[tuple[str, ...], ...] = ()
    """RPATHs inherited along the chain of loaders, this object's first."""


@dataclass(eq=False, slots=True)
class Process:
    """All that one executable brings into its address space."""

    main: Loaded
    objects: list[Loaded]
    """In load order, `main` first."""
    outcomes: list[Need | Missing] = field(default_factory=list)
    """Those that no earlier process had."""
    names: dict[str, Loaded] = field(default_factory=dict)
    paths: dict[RootPath, Loaded] = field(default_factory=dict)
    whole: bool = True
    """Every library that is asked for is there."""
    musl: "Musl | None" = None
    """Its loader where that is musl's; None: glibc's."""
    filters: set[Loaded] = field(default_factory=set)
    """Those whose filtees are loaded."""


def is_program(elf: Elf) -> bool:
    """Tell a program from a library that can also be started (libc.so.6 prints its version)."""
    return bool(elf.interpreter) and (elf.pie or not elf.soname)


def calls(symbols: Symbols) -> str:
    """The first function of UNWINDS that is left undefined; "" for none."""
    # a weak reference only asks whether there are threads: it is no call
    for function in UNWINDS:
        at = bisect_left(symbols.undefined, function)
        if symbols.undefined[at : at + 1] and symbols.undefined[at].partition("@")[0] == function:
            return function
    return ""
