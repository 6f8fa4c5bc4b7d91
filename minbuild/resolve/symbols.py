"""Whether every symbol and version that a process wants is defined in that process.

Source: gABI, Symbol Table; LSB Core, Symbol Versioning; glibc elf/dl-lookup.c, dl-version.c.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from minbuild.facts.types import Symbols
from minbuild.paths import RootPath
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.ldso import Loaded, Process, is_program
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

    def unmet(self, process: Process) -> Iterator[Missing]:
        """Every version and every strong symbol that the process lacks.

        Of a library without a program only versions: its symbols may be the program's.
        """
        for loaded in process.objects:
            yield from self._versions(process, loaded)
        if is_program(process.main.elf):
            offers = [self._offer(loaded) for loaded in process.objects]
            for loaded in process.objects:
                yield from self._undefined(process, loaded, offers)

    def _versions(self, process: Process, loaded: Loaded) -> Iterator[Missing]:
        for need in loaded.elf.version_needs:
            other = process.names.get(need.soname)
            # a library without versions serves all of them, with a warning at most
            if other is None or not other.elf.version_defs:
                continue
            for version in need.versions:
                if version not in other.elf.version_defs and version not in need.weak:
                    evidence = f"verneed {version} of {need.soname}"
                    yield self._lack(f"version {version}", loaded, evidence, (other.path,))

    def _undefined(
        self, process: Process, loaded: Loaded, offers: list[_Offer]
    ) -> Iterator[Missing]:
        symbols = self._read(loaded.path)
        for wanted in symbols.undefined if symbols else ():
            name, _, version = wanted.partition("@")
            if version:
                met = any(wanted in offer.exact or name in offer.exact for offer in offers)
            else:
                met = any(name in offer.bare for offer in offers)
            if not met:
                looked = tuple(other.path for other in process.objects if other is not loaded)
                evidence = f"undefined in the process of {process.main.path}"
                yield self._lack(f"symbol {wanted}", loaded, evidence, looked)

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
