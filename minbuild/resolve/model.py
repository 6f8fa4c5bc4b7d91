"""Needs, selected files and the closure, and the closure as a graph: frozen data."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from minbuild.archive.model import ProviderGuess
from minbuild.facts.model import Elf, FileEntry
from minbuild.manifest.model import Location, Waiver
from minbuild.paths import RootPath


def shorten_location(where: Location) -> str:
    """A place as evidence shows it: `host.yaml:9:3`, `components/network/dhcp.yaml:3:11`.

    It does not depend on where on this machine the file lies, so that footprints do not either.
    """
    parts = where.file.split("/")
    start = parts.index("components") if "components" in parts else len(parts) - 1
    return f"{'/'.join(parts[start:])}:{where.line}:{where.column}"


class ChainStart(StrEnum):
    """First word of a chain in a foreign root; a library is one that no program there loads."""

    PROGRAM = "program"
    SCRIPT = "script"
    LIBRARY = "library"
    MODULE = "module"
    LINK = "link"
    FILE = "file"


class NeedKind(StrEnum):
    """Kind of a need, with all that differs by kind: `NeedKind("firmware").noun` is "firmware "."""

    noun: str
    """What an error puts before the name; "" where a path or soname says what it is."""
    evidence_location: str
    """Part of the needing file that the evidence is in."""
    chain_start: ChainStart
    """Start of a chain in a foreign root that no program leads to."""
    guess: ProviderGuess
    """How the package that may have it is guessed."""

    def __new__(
        cls,
        text: str,
        noun: str,
        evidence_location: str,
        chain_start: ChainStart,
        guess: ProviderGuess,
    ) -> Self:
        kind = str.__new__(cls, text)
        kind._value_ = text
        kind.noun = noun
        kind.evidence_location = evidence_location
        kind.chain_start = chain_start
        kind.guess = guess
        return kind

    ROOT = "root", "", "the manifest", ChainStart.FILE, ProviderGuess.DEPENDENCY
    PARENT = "parent", "", "the path", ChainStart.FILE, ProviderGuess.FILE
    LINK = "link", "", "the link", ChainStart.LINK, ProviderGuess.FILE
    INTERP = (
        "interp", "", "the program header PT_INTERP", ChainStart.PROGRAM, ProviderGuess.FILE,
    )  # fmt: skip
    NEEDED = "needed", "", "the dynamic section", ChainStart.LIBRARY, ProviderGuess.LIBRARY
    DLOPEN = "dlopen", "", "the dynamic symbols", ChainStart.LIBRARY, ProviderGuess.LIBRARY
    SHEBANG = "shebang", "", "line 1", ChainStart.SCRIPT, ProviderGuess.FILE
    EXEC = "exec", "a program ", "line 1", ChainStart.SCRIPT, ProviderGuess.FILE
    DATA = "data", "", "a rule", ChainStart.FILE, ProviderGuess.FILE
    MODULE = (
        "module", "module ", "the field `depends` of .modinfo", ChainStart.MODULE,
        ProviderGuess.MODULE,
    )  # fmt: skip
    SOFTDEP = (
        "softdep", "module ", "the field `softdep` of .modinfo", ChainStart.MODULE,
        ProviderGuess.MODULE,
    )  # fmt: skip
    REQUEST = (
        "request", "module ", "its calls of request_module", ChainStart.MODULE,
        ProviderGuess.MODULE,
    )  # fmt: skip
    FIRMWARE = (
        "firmware", "firmware ", "the field `firmware` of .modinfo", ChainStart.MODULE,
        ProviderGuess.FIRMWARE,
    )  # fmt: skip
    KCONFIG = (
        "kconfig", "the kernel option CONFIG_", "the manifest", ChainStart.FILE,
        ProviderGuess.DEPENDENCY,
    )  # fmt: skip
    GENERATED = "generated", "", "a rule", ChainStart.FILE, ProviderGuess.FILE
    STRING = "string", "", "the text", ChainStart.FILE, ProviderGuess.FILE


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """One edge of the closure."""

    path: RootPath
    """What is needed."""
    needed_by: str
    """The path that needs it, or the component (`network/dhcp`) of a root."""
    kind: NeedKind
    evidence: str
    """`DT_NEEDED libc.so.6`, `#! /bin/sh`, `depends=net_failover`, `dhcp.yaml:3:11`."""


@dataclass(frozen=True, slots=True)
class ResolvedPath:
    """Where a raw path ends: its directory part resolved, its last component as it stands."""

    path: RootPath
    entry: FileEntry
    traversed: tuple[RootPath, ...]
    """Links walked through, and directories left again by `..`, in order."""

    def make_found_path(
        self, needed_by: str, kind: NeedKind, evidence: str, raw: str
    ) -> "FoundPath":
        """Make the result of a rule that looked this path up as `raw`."""
        return FoundPath(self.path, needed_by, kind, evidence, raw, self.traversed)


@dataclass(frozen=True, slots=True)
class FoundPath:
    """A path that a rule looked up and found: its end is needed, and so is each link on the way.

    The resolution makes the needs of it.
    """

    path: RootPath
    """Its end."""
    needed_by: str
    kind: NeedKind
    """Of the need of the end."""
    evidence: str
    raw: str = ""
    """The path as it was looked up: `/lib64/ld-linux-x86-64.so.2`."""
    traversed: tuple[RootPath, ...] = ()


@dataclass(frozen=True, slots=True)
class Root:
    """A path, glob, module or firmware name that a component asks for."""

    kind: NeedKind
    """ROOT for paths; MODULE, FIRMWARE, KCONFIG for names; DATA for `TOPIC/VALUE` of a rule."""
    text: str
    component: str
    evidence: str
    package: str = ""
    """The package that `text` must come from; "" for rendered files and names."""
    optional: bool = False
    """True: a name without a match is no error (a device without a driver)."""
    applet: bool = False
    """True: a link to BusyBox, whose place a file takes that the manifest itself keeps."""


@dataclass(frozen=True, slots=True)
class UnmetNeed:
    """A need that the packages at hand do not meet."""

    kind: NeedKind
    wanted: str
    """As asked for: soname, absolute path, module name, firmware name."""
    by: str
    package: str
    """The package of `by`, whose Depends may lead to a provider; or the package that a root
    names; "" when unknown."""
    evidence: str
    chain: tuple[str, ...] = ()
    """From the component down to `by`."""
    looked: tuple[str, ...] = ()
    """Directories or packages that were searched."""


RuleResult = Need | FoundPath | UnmetNeed


@dataclass(frozen=True, slots=True, order=True)
class ScriptWarning:
    """Something in a file of the image that may be wrong."""

    path: RootPath
    line: int
    """From 1."""
    what: str


@dataclass(frozen=True, slots=True, order=True)
class OptionalFile:
    """Files that a selected one may use and that no need selects."""

    by: RootPath
    wanted: str
    """Path or glob; the first of several."""
    priority: str
    """recommended or suggested."""
    evidence: str
    because: str = ""


@dataclass(frozen=True, slots=True)
class SelectedFile:
    """One path of the closure and who owns it."""

    entry: FileEntry
    package: str
    """"" for rendered files and merged-/usr links."""
    component: str
    """The first component, in manifest order, whose needs lead here."""


@dataclass(frozen=True, slots=True)
class Closure:
    """Every chosen path, the needs that brought it in, and what is missing."""

    files: Mapping[RootPath, SelectedFile]
    """By path, sorted."""
    needs: tuple[Need, ...]
    """All edges between chosen paths, sorted."""
    unmet_needs: tuple[UnmetNeed, ...]
    kernel_release: str
    """Kernel version: 6.12.107+deb13-cloud-amd64; "" without a kernel."""
    builtin_modules: Mapping[str, str]
    """Module asked for that is built into the kernel → who asked; sorted."""
    used_waivers: tuple[str, ...]
    """Waivers that were used, as written."""
    unexplained_sonames: Mapping[RootPath, tuple[str, ...]]
    """Sonames in strings of chosen ELF files that no note and no need explains."""
    unused_waivers: tuple[Waiver, ...] = ()
    """Waivers that nothing needed, in the manifest's order."""
    skipped_softdeps: Mapping[str, str] = field(default_factory=dict)
    """What may be absent and is (a softdep that this kernel has not) → who asked; sorted."""
    optional_files: tuple[OptionalFile, ...] = ()
    """What rules list and do not take; sorted."""


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


def trace_from(
    starts: Sequence[str], edges: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Give every node the first of `starts` that reaches it, and its neighbour on that way.

    `edges` leads from who needs to what is needed, sorted. A start belongs to itself and has no
    neighbour.
    """
    owner: dict[str, str] = {}
    predecessors: dict[str, str] = {}
    for start in starts:
        if start in owner:
            continue
        owner[start] = start
        queue = deque([start])
        while queue:
            node = queue.popleft()
            for successor in edges.get(node, ()):
                if successor not in owner:
                    owner[successor] = start
                    predecessors[successor] = node
                    queue.append(successor)
    return owner, predecessors


def build_adjacency(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Edges by their start, each list sorted and without repeats."""
    neighbours: dict[str, set[str]] = {}
    for start, path in pairs:
        neighbours.setdefault(start, set()).add(path)
    return {start: sorted(paths) for start, paths in neighbours.items()}


def trace_path(node: str, predecessors: Mapping[str, str]) -> tuple[str, ...]:
    """The way from a start down to `node`, as `trace_from` found it."""
    nodes = [node]
    while nodes[-1] in predecessors:
        nodes.append(predecessors[nodes[-1]])
    return tuple(reversed(nodes))
