"""Check that every symbol and version that a process or module needs is defined.

Source: gABI, Symbol Table; LSB Core, Symbol Versioning; glibc elf/dl-lookup.c, dl-version.c.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from minbuild.facts.model import Module, Symbols
from minbuild.paths import RootPath
from minbuild.resolve.elf_process import Process, is_program
from minbuild.resolve.kernel import IMAGE_GLOBS, MODULE_SUFFIXES, MODULES_DIRECTORY
from minbuild.resolve.model import LoadedObject, NeedKind, UnmetNeed
from minbuild.resolve.package_view import PackageView

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
