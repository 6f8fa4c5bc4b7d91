"""Whether every symbol that a kernel module wants is offered by its kernel or a module it loads.

Source: Linux kernel/module/main.c (resolve_symbol, simplify_symbols), kernel/module/version.c.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from minbuild.facts.types import Module, Symbols
from minbuild.paths import RootPath
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.kernel import IMAGES, MODULE_FORMS, MODULES
from minbuild.resolve.types import Missing, NeedKind

Offers = Mapping[str, str]
"""Symbol → its CRC in hex; "" where it has none."""


@dataclass(frozen=True, slots=True)
class _One:
    path: RootPath
    facts: Module
    wants: Symbols
    offers: Offers


class ModuleSymbolCheck:
    """The modules of every kernel in a catalog; each is looked at once."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def unmet(self) -> Iterator[Missing]:
        """Every strong symbol that neither the kernel nor a module it depends on offers alike.

        Of a kernel whose exports cannot be read (one that is not in the tree, or no ELF inside),
        only a symbol of another type can be told.
        """
        kernels: dict[str, dict[str, _One]] = {}
        for one in self._modules():
            version = one.path[len(MODULES) + 1 :].partition("/")[0]
            kernels.setdefault(version, {})[one.facts.name] = one
        for version, modules in sorted(kernels.items()):
            yield from self._of_kernel(version, modules)

    def _modules(self) -> Iterator[_One]:
        for files in self._catalog.files:
            for path in sorted(files.entries):
                if path.startswith(f"{MODULES}/") and path.endswith(MODULE_FORMS):
                    facts, symbols = self._catalog.facts(path), self._catalog.symbols(path)
                    if isinstance(facts, Module) and symbols is not None:
                        yield _One(path, facts, symbols, _offers(symbols))

    def _of_kernel(self, version: str, modules: Mapping[str, _One]) -> Iterator[Missing]:
        image, kernel = self._image(version)
        for one in modules.values():
            needed = _needed(one, modules)
            sources = [(image, kernel), *((each.path, each.offers) for each in needed)]
            for wanted in one.wants.undefined:
                name, _, crc = wanted.partition("@")
                found = next(((path, has[name]) for path, has in sources if name in has), None)
                if found is None and kernel:
                    looked = tuple(path for path, _ in sources)
                    yield self._lack(one, f"symbol {name}", "undefined", looked)
                elif found is not None and crc and found[1] and crc != found[1]:
                    evidence = f"{found[0]} has it with CRC {found[1]}: it is of another build"
                    yield self._lack(one, f"symbol {name} with CRC {crc}", evidence, (found[0],))

    def _image(self, version: str) -> tuple[RootPath, Offers]:
        for glob in IMAGES:
            for letter in "zx":
                path = glob.replace("[xz]", letter).replace("*", version)
                symbols = self._catalog.symbols(RootPath(path))
                if symbols is not None:
                    return RootPath(path), _offers(symbols)
        return RootPath(""), {}

    def _lack(self, one: _One, wanted: str, evidence: str, looked: tuple[str, ...]) -> Missing:
        package = self._catalog.owner(one.path)
        return Missing(NeedKind.MODULE, wanted, one.path, package, evidence, looked=looked)


def _offers(symbols: Symbols) -> Offers:
    return {name: crc for name, _, crc in (text.partition("@") for text in symbols.defined)}


def _needed(one: _One, modules: Mapping[str, _One]) -> tuple[_One, ...]:
    """All modules that are loaded before `one`, the nearest first."""
    found: dict[str, _One] = {}
    todo = list(one.facts.depends)
    for name in todo:
        if name in modules and name not in found:
            found[name] = modules[name]
            todo.extend(modules[name].facts.depends)
    return tuple(found.values())
