"""Whether every symbol and version that a process wants is defined in that process.

Source: gABI, Symbol Table; LSB Core, Symbol Versioning; glibc elf/dl-lookup.c, dl-version.c.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from minbuild.facts.types import Symbols
from minbuild.paths import RootPath
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.process import Loaded, Process, is_program
from minbuild.resolve.types import Missing, NeedKind


@dataclass(frozen=True, slots=True)
class _Offer:
    exact: frozenset[str]
    """"name" or "name@VERSION", as defined."""
    bare: frozenset[str]
    """The same without versions."""


class SymbolCheck:
    """Remembers what each object offers, for all processes that load it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._offers: dict[RootPath, _Offer] = {}
        self._symbols: dict[RootPath, Symbols | None] = {}
        self._served: dict[RootPath, list[frozenset[RootPath]]] = {}
        """By an object: sets of objects that together offered all it wants."""

    def unmet(self, process: Process) -> Iterator[Missing]:
        """Every version and every strong symbol that the process lacks.

        Of a library without a program only versions: its symbols may be the program's. A process
        that lacks a library lacks that library's symbols: only the library is told.
        """
        for loaded in process.objects:
            yield from self._versions(process, loaded)
        if is_program(process.main.elf) and process.whole:
            there = process.paths.keys()
            for loaded in process.objects:
                # whoever is there besides can only offer more
                if not any(served <= there for served in self._served.get(loaded.path, ())):
                    yield from self._undefined(process, loaded)

    def _versions(self, process: Process, loaded: Loaded) -> Iterator[Missing]:
        for need in loaded.elf.version_needs if process.musl is None else ():
            other = process.names.get(need.soname)
            # a library without versions serves all of them, with a warning at most
            if other is None or not other.elf.version_defs:
                continue
            for version in need.versions:
                if version not in other.elf.version_defs and version not in need.weak:
                    evidence = f"verneed {version} of {need.soname}"
                    yield self._lack(f"version {version}", loaded, evidence, (other.path,))

    def _undefined(self, process: Process, loaded: Loaded) -> Iterator[Missing]:
        symbols = self._read(loaded.path)
        offers = [(other.path, self._offer(other)) for other in process.objects]
        servers: set[RootPath] = set()
        whole = True
        for wanted in symbols.undefined if symbols else ():
            name, _, version = wanted.partition("@")
            version = version if process.musl is None else ""
            if version:
                by = next((p for p, o in offers if wanted in o.exact or name in o.exact), None)
            else:
                by = next((path for path, offer in offers if name in offer.bare), None)
            if by is not None:
                servers.add(by)
            else:
                whole = False
                looked = tuple(other.path for other in process.objects if other is not loaded)
                evidence = f"undefined in the process of {process.main.path}"
                yield self._lack(f"symbol {wanted}", loaded, evidence, looked)
        if whole:
            self._served.setdefault(loaded.path, []).append(frozenset(servers))

    def _offer(self, loaded: Loaded) -> _Offer:
        if loaded.path not in self._offers:
            symbols = self._read(loaded.path)
            exact = frozenset(symbols.defined if symbols else ())
            bare = frozenset(name.partition("@")[0] for name in exact)
            self._offers[loaded.path] = _Offer(exact, bare)
        return self._offers[loaded.path]

    def _read(self, path: RootPath) -> Symbols | None:
        if path not in self._symbols:
            self._symbols[path] = self._catalog.symbols(path)
        return self._symbols[path]

    def _lack(self, wanted: str, loaded: Loaded, evidence: str, looked: tuple[str, ...]) -> Missing:
        package = self._catalog.owner(loaded.path)
        return Missing(NeedKind.NEEDED, wanted, loaded.path, package, evidence, looked=looked)
