"""Files of packages written down in a few words, for tests of the resolver."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from minbuild.explain.weights import ClosureGraph
from minbuild.facts.model import (
    Dlopen,
    Elf,
    FileEntry,
    FileFacts,
    ModuleAlias,
    PackageFiles,
    Symbols,
    VersionNeed,
)
from minbuild.facts.module_aliases import group_by_bus
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import Location, Waiver
from minbuild.paths import RootPath, list_parents, to_root_path
from minbuild.resolve.model import Closure, Need, NeedKind, Root, UnmetNeed
from minbuild.resolve.resolution import resolve

LIB = "/usr/lib/x86_64-linux-gnu"
LOADER = f"{LIB}/ld-linux-x86-64.so.2"
INTERPRETER = "/lib64/ld-linux-x86-64.so.2"

Content = FileFacts | str | tuple[FileFacts, Symbols] | None
"""Facts; a link as `-> target`; a hard link as `= path`; None for plain data."""


def program(*needed: str, **fields: object) -> Elf:
    """A dynamic program of amd64."""
    return _elf({"pie": True, "interpreter": INTERPRETER, "needed": needed}, fields)


def library(soname: str, *needed: str, **fields: object) -> Elf:
    """A shared object of amd64."""
    return _elf({"soname": soname, "needed": needed}, fields)


def note(*sonames: str, priority: str = "required") -> tuple[Dlopen, ...]:
    """One entry of .note.dlopen."""
    return (Dlopen(sonames, priority),)


def versions(soname: str, *names: str) -> tuple[VersionNeed, ...]:
    """One entry of verneed."""
    return (VersionNeed(soname, names),)


def package(
    owner: str,
    content: Mapping[str, Content],
    *,
    depends: tuple[str, ...] = (),
    provides: tuple[str, ...] = (),
    modes: Mapping[str, int] | None = None,
) -> PackageFiles:
    """A package of these files; directories come by themselves."""
    entries: dict[RootPath, FileEntry] = {}
    facts: dict[RootPath, FileFacts] = {}
    symbols: dict[RootPath, Symbols] = {}
    for text, what in content.items():
        path = to_root_path(text)
        for parent in list_parents(path):
            entries.setdefault(parent, FileEntry(parent, FileType.DIRECTORY, 0o755))
        entries[path] = _entry(path, what, (modes or {}).get(text, 0o755))
        if isinstance(what, tuple):
            facts[path], symbols[path] = what
        elif what is not None and not isinstance(what, str):
            facts[path] = what
    return PackageFiles(
        owner=owner,
        entries=dict(sorted(entries.items())),
        facts=facts.get,
        symbols=symbols.get,
        depends=tuple(tuple(each.split("|")) for each in depends),
        provides=provides,
    )


def listing_aliases(files: PackageFiles) -> PackageFiles:
    """The package with a list of its modules' aliases, as every package out of a store has one."""
    modules = [
        (path, files.facts(path))
        for path, entry in files.entries.items()
        if entry.kind is FileType.FILE
    ]
    groups = group_by_bus(modules)

    def list_aliases(bus: str | None) -> list[ModuleAlias]:
        buses = groups if bus is None else [bus]
        return [alias for one in buses for alias in groups.get(one, ())]

    return replace(files, aliases=list_aliases)


def libc(**more: Content) -> PackageFiles:
    """The C library and its loader, linked as trixie's libc6 has them."""
    return package(
        "libc6",
        {
            LOADER: library("ld-linux-x86-64.so.2"),
            "/usr/lib64/ld-linux-x86-64.so.2": "-> ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            f"{LIB}/libc.so.6": library("libc.so.6", "ld-linux-x86-64.so.2"),
            **more,
        },
    )


def root(text: str, package: str = "app", *, component: str = "boot/app") -> Root:
    """A path that a component asks for."""
    return Root(NeedKind.ROOT, text, component, "app.yaml:1:1", package)


def named(kind: NeedKind, text: str) -> Root:
    """A module, firmware or option that a component asks for."""
    return Root(kind, text, "kernel/k", "k.yaml:1:1")


def waiver(path: str) -> Waiver:
    """A line of `drop` or `allow-missing`."""
    return Waiver(path, "a test", Location("host.yaml", 9, 1))


def closed(*files: PackageFiles, roots: tuple[Root, ...] = (root("/usr/bin/app"),)) -> Closure:
    """The closure of `roots` on amd64."""
    return resolve(roots, files, arch="amd64")


def graph_of(closure: Closure) -> ClosureGraph:
    """The graph of a closure, weighed in bytes of content."""
    sizes = {
        str(path): one.entry.size
        for path, one in closure.files.items()
        if one.entry.kind is FileType.FILE
    }
    return ClosureGraph(sizes, closure.needs)


def regular(closure: Closure) -> list[str]:
    """Paths of all that is no directory."""
    return [path for path, one in closure.files.items() if one.entry.kind is not FileType.DIRECTORY]


def missing(closure: Closure) -> list[str]:
    """What is missing, in short: `needed libz.so.1`."""
    return [f"{each.kind} {each.wanted}" for each in closure.unmet_needs]


def edge(closure: Closure, path: str, by: str) -> Need:
    """The only need of `path` by `by`."""
    (found,) = (need for need in closure.needs if need.path == path and need.needed_by == by)
    return found


def lack(closure: Closure) -> UnmetNeed:
    """The only thing missing."""
    (found,) = closure.unmet_needs
    return found


def _elf(kind: dict[str, object], fields: dict[str, object]) -> Elf:
    usual: dict[str, object] = {
        "bits": 64,
        "little": True,
        "machine": "EM_X86_64",
        "kind": "ET_DYN",
        "dynamic": True,
    }
    return Elf(**(usual | kind | fields))  # type: ignore[arg-type]


def _entry(path: RootPath, what: Content, mode: int) -> FileEntry:
    if isinstance(what, str) and what.startswith("-> "):
        return FileEntry(path, FileType.LINK, 0o777, target=what.removeprefix("-> "))
    digest = hashlib.sha256(f"{path} {what}".encode()).hexdigest()
    if isinstance(what, str):
        target = what.removeprefix("= ")
        return FileEntry(
            path, FileType.HARDLINK, mode, size=len(path), sha256=digest, target=target
        )
    return FileEntry(path, FileType.FILE, mode, size=len(path), sha256=digest)
