"""What one program brings into its address space."""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minbuild.facts.model import Elf, Symbols
from minbuild.paths import RootPath
from minbuild.resolve.builtin_knowledge import THREAD_CANCEL_FUNCTIONS
from minbuild.resolve.model import Need, UnmetNeed

if TYPE_CHECKING:
    from minbuild.resolve.musl import MuslLoader


@dataclass(eq=False, slots=True)
class LoadedObject:
    """One object in a process."""

    path: RootPath
    """Real path."""
    opened_path: RootPath
    """Path that was opened: may be a link to `path`."""
    elf: Elf
    origin: str
    """What $ORIGIN stands for."""
    loaded_by: "LoadedObject | None"
    """Who asked first."""
    inherited_rpaths: tuple[tuple[str, ...], ...] = ()
    """RPATHs inherited along the chain of loaders, this object's first."""


@dataclass(eq=False, slots=True)
class Process:
    """All that one executable brings into its address space."""

    main: LoadedObject
    objects: list[LoadedObject]
    """In load order, `main` first."""
    results: list[Need | UnmetNeed] = field(default_factory=list)
    """Those that no earlier process had."""
    names: dict[str, LoadedObject] = field(default_factory=dict)
    paths: dict[RootPath, LoadedObject] = field(default_factory=dict)
    is_complete: bool = True
    """Every library that is asked for is there."""
    musl: "MuslLoader | None" = None
    """Its loader where that is musl's; None: glibc's."""
    followed_filters: set[LoadedObject] = field(default_factory=set)
    """Those whose filtees are loaded."""


def is_program(elf: Elf) -> bool:
    """Tell a program from a library that can also be started (libc.so.6 prints its version)."""
    return bool(elf.interpreter) and (elf.pie or not elf.soname)


def find_cancel_function(symbols: Symbols) -> str:
    """The first function of UNWINDS that is left undefined; "" for none."""
    # a weak reference only asks whether there are threads: it is no call
    for function in THREAD_CANCEL_FUNCTIONS:
        index = bisect_left(symbols.undefined, function)
        if (
            symbols.undefined[index : index + 1]
            and symbols.undefined[index].partition("@")[0] == function
        ):
            return function
    return ""
