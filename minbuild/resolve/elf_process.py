"""Processes as a loader builds them: objects in load order, names, and requests for more."""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple

from minbuild.facts.model import Elf, Symbols
from minbuild.paths import RootPath
from minbuild.resolve.builtin_knowledge import THREAD_CANCEL_FUNCTIONS
from minbuild.resolve.model import LoadedObject, NeedKind, RuleResult
from minbuild.resolve.musl import MuslLoader


@dataclass(eq=False, slots=True)
class Process:
    """All that one executable brings into its address space."""

    main: LoadedObject
    objects: list[LoadedObject]
    """In load order, `main` first."""
    results: list[RuleResult] = field(default_factory=list)
    """Those that no earlier process had."""
    names: dict[str, LoadedObject] = field(default_factory=dict)
    paths: dict[RootPath, LoadedObject] = field(default_factory=dict)
    is_complete: bool = True
    """Every library that is asked for is there."""
    musl: MuslLoader | None = None
    """Its loader where that is musl's; None: glibc's."""
    followed_filters: set[LoadedObject] = field(default_factory=set)
    """Those whose filtees are loaded."""

    def add(self, loaded: LoadedObject, name: str) -> None:
        """Append an object, known by `name` and by its soname from then on."""
        self.objects.append(loaded)
        self.paths[loaded.path] = loaded
        for known_name in (name, loaded.elf.soname):
            if known_name:
                self.names.setdefault(known_name, loaded)

    def move_filtee(self, requester: LoadedObject, name: str, position: int) -> int:
        """Move a loaded filtee to `position` unless it is before that; returns how many moved."""
        loaded = self.names.get(name)
        if loaded is None or loaded is requester:
            return 0
        current = self.objects.index(loaded)
        if current < position:
            return 0
        self.objects.insert(position, self.objects.pop(current))
        return 1


class LibraryRequest(NamedTuple):
    """A name that an object of a process asks its loader for: `libssl.so.3`.

    A tuple: a build makes many, and a tuple is made fastest.
    """

    process: Process
    requester: LoadedObject
    """The object whose need it is."""
    opener: LoadedObject
    """The object whose RPATH or RUNPATH is searched: the requester, or libc for what it opens."""
    name: str
    kind: NeedKind
    evidence: str


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
