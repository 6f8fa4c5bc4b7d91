"""Closed-world check: no file of a tree needs anything outside of that tree, symbols and their
versions included.

Source: gABI, Symbol Table; LSB Core, Symbol Versioning; glibc elf/dl-lookup.c, dl-version.c.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from minbuild.facts.model import Module, PackageFiles, Symbols
from minbuild.paths import USRMERGED, RootPath
from minbuild.resolve.builtin_tables import PROGRAM_DIRECTORIES, find_architecture
from minbuild.resolve.elf_process import Process, is_program
from minbuild.resolve.kernel import IMAGE_GLOBS, MODULE_SUFFIXES, MODULES_DIRECTORY
from minbuild.resolve.model import (
    ChainStart,
    Closure,
    LoadedObject,
    Need,
    NeedKind,
    ScriptWarning,
    UnmetNeed,
    build_adjacency,
    trace_from,
    trace_path,
)
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.policy import DEFAULT_POLICY, ResolvePolicy, Waivers
from minbuild.resolve.resolution import Resolution

Exports = Mapping[str, str]
"""Symbol → its CRC in hex; "" where it has none."""


@dataclass(frozen=True, slots=True)
class _ModuleSymbols:
    path: RootPath
    facts: Module
    symbols: Symbols
    exports: Exports


class ModuleSymbolCheck:
    """Check of the modules of every kernel; each module is read once."""

    def __init__(self, view: PackageView) -> None:
        self._view = view

    def find_unmet(self) -> Iterator[UnmetNeed]:
        """Every strong symbol that neither the kernel nor a module it depends on offers alike.

        Of a kernel whose exports cannot be read (one that is not in the tree, or no ELF inside),
        only a symbol of another type can be told.
        """
        kernels: dict[str, dict[str, _ModuleSymbols]] = {}
        for module in self._read_modules():
            version = module.path[len(MODULES_DIRECTORY) + 1 :].partition("/")[0]
            kernels.setdefault(version, {})[module.facts.name] = module
        for version, modules in sorted(kernels.items()):
            yield from self._check_kernel(version, modules)

    def _read_modules(self) -> Iterator[_ModuleSymbols]:
        for files in self._view.packages:
            for path in sorted(files.entries):
                if path.startswith(f"{MODULES_DIRECTORY}/") and path.endswith(MODULE_SUFFIXES):
                    facts, symbols = self._view.get_facts(path), self._view.get_symbols(path)
                    if isinstance(facts, Module) and symbols is not None:
                        yield _ModuleSymbols(path, facts, symbols, _list_exports(symbols))

    def _check_kernel(
        self, version: str, modules: Mapping[str, _ModuleSymbols]
    ) -> Iterator[UnmetNeed]:
        image, kernel = self._read_image_exports(version)
        for module in modules.values():
            dependencies = _list_dependencies(module, modules)
            exporters = [(image, kernel), *((each.path, each.exports) for each in dependencies)]
            for symbol in module.symbols.undefined:
                name, _, crc = symbol.partition("@")
                match = next(((path, has[name]) for path, has in exporters if name in has), None)
                if match is None and kernel:
                    searched = tuple(path for path, _ in exporters)
                    yield self._make_unmet(module, f"symbol {name}", "undefined", searched)
                elif match is not None and crc and match[1] and crc != match[1]:
                    evidence = f"{match[0]} has it with CRC {match[1]}: it is of another build"
                    yield self._make_unmet(
                        module, f"symbol {name} with CRC {crc}", evidence, (match[0],)
                    )

    def _read_image_exports(self, version: str) -> tuple[RootPath, Exports]:
        for glob in IMAGE_GLOBS:
            for letter in "zx":
                path = glob.replace("[xz]", letter).replace("*", version)
                symbols = self._view.get_symbols(RootPath(path))
                if symbols is not None:
                    return RootPath(path), _list_exports(symbols)
        return RootPath(""), {}

    def _make_unmet(
        self, module: _ModuleSymbols, symbol: str, evidence: str, searched: tuple[str, ...]
    ) -> UnmetNeed:
        package = self._view.get_owner(module.path)
        return UnmetNeed(NeedKind.MODULE, symbol, module.path, package, evidence, looked=searched)


def _list_exports(symbols: Symbols) -> Exports:
    return {name: crc for name, _, crc in (text.partition("@") for text in symbols.defined)}


def _list_dependencies(
    module: _ModuleSymbols, modules: Mapping[str, _ModuleSymbols]
) -> tuple[_ModuleSymbols, ...]:
    """All modules that are loaded before `module`, the nearest first."""
    dependencies: dict[str, _ModuleSymbols] = {}
    queue = list(module.facts.depends)
    for name in queue:
        if name in modules and name not in dependencies:
            dependencies[name] = modules[name]
            queue.extend(modules[name].facts.depends)
    return tuple(dependencies.values())


@dataclass(frozen=True, slots=True)
class _DefinedSymbols:
    exact: frozenset[str]
    """"name" or "name@VERSION", as defined."""
    bare: frozenset[str]
    """The same without versions."""


class SymbolCheck:
    """Check of processes; the symbols of each object are read once for all that load it."""

    def __init__(self, view: PackageView) -> None:
        self._view = view
        self._defined: dict[RootPath, _DefinedSymbols] = {}
        self._symbols: dict[RootPath, Symbols | None] = {}
        self._satisfied_by: dict[RootPath, list[frozenset[RootPath]]] = {}
        """By an object: sets of objects that together offered all it wants."""

    def find_unmet(self, process: Process) -> Iterator[UnmetNeed]:
        """Every version and every strong symbol that the process lacks.

        Of a library without a program only versions: its symbols may be the program's. A process
        that lacks a library lacks its symbols, too: only the library is reported.
        """
        for loaded in process.objects:
            yield from self._check_versions(process, loaded)
        if is_program(process.main.elf) and process.is_complete:
            paths = process.paths.keys()
            for loaded in process.objects:
                # objects in addition can only define more
                if not any(served <= paths for served in self._satisfied_by.get(loaded.path, ())):
                    yield from self._check_undefined(process, loaded)

    def _check_versions(self, process: Process, loaded: LoadedObject) -> Iterator[UnmetNeed]:
        for need in loaded.elf.version_needs if process.musl is None else ():
            provider = process.names.get(need.soname)
            # a library without versions serves all of them, with a warning at most
            if provider is None or not provider.elf.version_defs:
                continue
            for version in need.versions:
                if version not in provider.elf.version_defs and version not in need.weak:
                    evidence = f"verneed {version} of {need.soname}"
                    yield self._make_unmet(f"version {version}", loaded, evidence, (provider.path,))

    def _check_undefined(self, process: Process, loaded: LoadedObject) -> Iterator[UnmetNeed]:
        symbols = self._read_symbols(loaded.path)
        offers = [(other.path, self._get_defined(other)) for other in process.objects]
        providers: set[RootPath] = set()
        is_complete = True
        for symbol in symbols.undefined if symbols else ():
            name, _, version = symbol.partition("@")
            version = version if process.musl is None else ""
            if version:
                provider = next(
                    (p for p, o in offers if symbol in o.exact or name in o.exact), None
                )
            else:
                provider = next((path for path, offer in offers if name in offer.bare), None)
            if provider is not None:
                providers.add(provider)
            else:
                is_complete = False
                searched = tuple(other.path for other in process.objects if other is not loaded)
                evidence = f"undefined in the process of {process.main.path}"
                yield self._make_unmet(f"symbol {symbol}", loaded, evidence, searched)
        if is_complete:
            self._satisfied_by.setdefault(loaded.path, []).append(frozenset(providers))

    def _get_defined(self, loaded: LoadedObject) -> _DefinedSymbols:
        if loaded.path not in self._defined:
            symbols = self._read_symbols(loaded.path)
            exact = frozenset(symbols.defined if symbols else ())
            bare = frozenset(name.partition("@")[0] for name in exact)
            self._defined[loaded.path] = _DefinedSymbols(exact, bare)
        return self._defined[loaded.path]

    def _read_symbols(self, path: RootPath) -> Symbols | None:
        if path not in self._symbols:
            self._symbols[path] = self._view.get_symbols(path)
        return self._symbols[path]

    def _make_unmet(
        self, name: str, loaded: LoadedObject, evidence: str, searched: tuple[str, ...]
    ) -> UnmetNeed:
        package = self._view.get_owner(loaded.path)
        return UnmetNeed(NeedKind.NEEDED, name, loaded.path, package, evidence, looked=searched)


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
    unmet_symbols = _find_unmet_symbols(view, resolution)
    missing_files = _find_missing_files(files, closure) if closure is not None else ()
    unmet_needs = {
        *resolution.unmet_needs,
        *(each for each in (*unmet_symbols, *missing_files) if not waivers.allows(each)),
    }
    if closure is not None:
        chained = _add_chains(unmet_needs, closure)
    else:
        chained = _trace_to_programs(unmet_needs, resolution)
    return tuple(sorted(chained, key=lambda need: (need.kind, need.wanted, need.by, need.evidence)))


def _find_unmet_symbols(view: PackageView, resolution: Resolution) -> set[UnmetNeed]:
    """Symbols and versions that no object of a process, no module and no kernel defines."""
    symbols = SymbolCheck(view)
    unmet_symbols = set(ModuleSymbolCheck(view).find_unmet())
    for process in resolution.state.loader.processes:
        unmet_symbols.update(symbols.find_unmet(process))
    return unmet_symbols


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
