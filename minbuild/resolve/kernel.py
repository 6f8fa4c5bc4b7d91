"""Kernel of an image: modules by name, alias and path, built-ins, options, firmware files."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

from minbuild.facts.model import (
    BuiltinModules,
    KernelConfig,
    Module,
    ModuleAlias,
)
from minbuild.facts.module_aliases import group_by_bus, normalize_alias, parse_bus
from minbuild.facts.versions import version_key
from minbuild.paths import RootPath
from minbuild.resolve import path_glob
from minbuild.resolve.builtin_tables import BUILTIN_DRIVER_ALIASES
from minbuild.resolve.depmod import choose_modules, get_module_name, read_search_order
from minbuild.resolve.package_view import PackageView

IMAGE_GLOB = "/boot/vmlinu[xz]-*"
"""riscv64's is not compressed."""
MODULES_DIRECTORY = "/usr/lib/modules"
IMAGE_GLOBS = (IMAGE_GLOB, f"{MODULES_DIRECTORY}/*/vmlinu[xz]")
"""Where packages keep it; the second is Debian's place since Linux 7."""
MODULE_SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")


@dataclass(frozen=True, slots=True)
class ModuleMatches:
    """Modules that a name, alias, path or glob matches."""

    paths: tuple[RootPath, ...] = ()
    builtin: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.paths or self.builtin)


class InstalledKernel:
    """The kernel of the image; everything in it is computed when first asked for."""

    def __init__(self, view: PackageView, version: str = "", requested_package: str = "") -> None:
        self._view = view
        self._given_version = version
        self._requested_package = requested_package

    @cached_property
    def version(self) -> str:
        """`uname -r` of the kernel: as given, else the one with most modules; "" without any.

        Of several with as many the newest.
        """
        if self._given_version:
            return self._given_version
        counts: dict[str, int] = {}
        start = MODULES_DIRECTORY + "/"
        for files in self._view.packages:
            for path in files.entries:
                if path.startswith(start):
                    version = path[len(start) :].partition("/")[0]
                    counts[version] = counts.get(version, 0) + 1
        return max(counts, key=lambda one: (counts[one], version_key(one)), default="")

    @property
    def directory(self) -> str:
        return f"{MODULES_DIRECTORY}/{self.version}"

    @cached_property
    def package(self) -> str:
        """The package of the modules, or of the image; without modules the one that was asked for."""
        if self._requested_package and not self.modules:
            return self._requested_package
        names = (RootPath(f"/boot/vmlinu{end}-{self.version}") for end in "xz")
        owner = next(filter(None, map(self._view.get_owner, names)), "")
        return owner or next((self._view.get_owner(path) for path in self.modules.values()), "")

    @cached_property
    def modules(self) -> Mapping[str, RootPath]:
        """Loadable modules by name, sorted by path; of several with one name depmod's choice."""
        if not self.version:
            return {}
        order = read_search_order(self._view, self.version)
        paths = choose_modules(self._list_module_paths(), self.directory, order)
        return {get_module_name(path): path for path in paths}

    @cached_property
    def builtin_modules(self) -> Mapping[str, Module]:
        """Modules that are part of the kernel image, by name."""
        modules: dict[str, Module] = {}
        for name in ("modules.builtin", "modules.builtin.modinfo"):
            facts = self._view.get_facts(RootPath(f"{self.directory}/{name}"))
            if isinstance(facts, BuiltinModules):
                modules |= facts.modules
        for name, devices in BUILTIN_DRIVER_ALIASES.items():
            module = modules.get(name)
            if module is not None and not any(":" in alias for alias in module.aliases):
                modules[name] = replace(module, aliases=(*module.aliases, *devices))
        return modules

    @property
    def config_path(self) -> RootPath:
        path = RootPath(f"{self.directory}/config")
        if self._view.get_entry(path) is not None:
            return path
        return RootPath(f"/boot/config-{self.version}")

    @cached_property
    def options(self) -> Mapping[str, str]:
        """Options of the kernel's configuration, without CONFIG_."""
        facts = self._view.get_facts(self.config_path) if self.version else None
        return facts.options if isinstance(facts, KernelConfig) else {}

    def find(self, text: str) -> ModuleMatches:
        """Find modules by path or its glob, by name or its glob, by alias, by a built-in's name.

        Source: kmod, libkmod-module.c kmod_module_new_from_lookup: loadable modules of a name go
        before aliases, and these before built-in modules: crc32 is crc32_generic, though the
        library crc32 is built in.
        """
        # of an alias it is a part: devname:net/tun, dmi…bd07/12/2017
        if "/" in text and ":" not in text:
            return ModuleMatches(paths=self._find_by_path(text))
        name = text.replace("-", "_")
        if name in self.modules:
            return ModuleMatches(paths=(self.modules[name],))
        matches = (
            self._find_by_glob(name)
            if path_glob.is_glob(text) and ":" not in text
            else ModuleMatches()
        )
        matches = matches or self.find_by_alias(text)
        return (
            ModuleMatches(builtin=(name,))
            if name in self.builtin_modules and not matches.paths
            else matches
        )

    def find_by_alias(self, alias: str) -> ModuleMatches:
        """Find every module that says it serves `alias`, which may be a glob itself."""
        normalized = normalize_alias(alias)
        loadable = dict.fromkeys(map(RootPath, self._aliases.find_matching(normalized)))
        builtin = dict.fromkeys(self._builtin_aliases.find_matching(normalized))
        return ModuleMatches(tuple(loadable), tuple(builtin))

    def is_for_processor(self, path: RootPath) -> bool:
        """Tell whether a module loads on processors with some feature alone."""
        return any(module == path for _, module in self._aliases.get_bus("cpu"))

    def list_buses(self, path: RootPath) -> frozenset[str]:
        """The buses that the aliases of a module are of."""
        return self._buses_by_module.get(path, frozenset())

    def _list_module_paths(self) -> Iterator[RootPath]:
        start = self.directory + "/"
        holders = [one for one in self._view.packages if self.directory in one.entries]
        for files in holders or self._view.packages:
            for path in files.entries:
                if path.startswith(start) and path.endswith(MODULE_SUFFIXES):
                    yield path

    @cached_property
    def _aliases(self) -> "AliasIndex":
        return AliasIndex(lambda bus: sorted(self._list_aliases(bus), key=lambda each: each[1]))

    @cached_property
    def _buses_by_module(self) -> Mapping[RootPath, frozenset[str]]:
        buses: dict[RootPath, set[str]] = {}
        for alias, path in self._aliases.get_bus(None):
            if bus := parse_bus(alias):
                buses.setdefault(path, set()).add(bus)
        return {path: frozenset(names) for path, names in buses.items()}

    @cached_property
    def _builtin_aliases(self) -> "AliasIndex":
        aliases_by_bus = group_by_bus(
            (RootPath(name), self.builtin_modules[name]) for name in sorted(self.builtin_modules)
        )
        return AliasIndex(
            lambda bus: aliases_by_bus.get(bus, ()) if bus is not None else _flatten(aliases_by_bus)
        )

    def _list_aliases(self, bus: str | None) -> Iterator[ModuleAlias]:
        """Aliases of one bus, None: of all, with the path of the module that counts.

        That may be a link to another kernel's (weak-updates/), whose aliases it has.
        """
        modules_by_file: dict[RootPath, list[RootPath]] = {}
        for path in self.modules.values():
            real = self._view.resolve_links(path)
            if real is not None:
                modules_by_file.setdefault(real, []).append(path)
        files_by_owner: dict[str, list[RootPath]] = {}
        for real in modules_by_file:
            files_by_owner.setdefault(self._view.get_owner(real), []).append(real)
        for owner, files in files_by_owner.items():
            for alias, real in self._read_aliases(owner, files, bus):
                for path in modules_by_file.get(real, ()):
                    if self._view.get_owner(real) == owner:
                        yield alias, path

    def _read_aliases(
        self, owner: str, modules: Sequence[RootPath], bus: str | None
    ) -> Sequence[ModuleAlias]:
        """Aliases of a package's modules, and perhaps of others; of `modules` where it has no list."""
        package = self._view.by_name.get(owner)
        if package is not None and package.aliases is not None:
            return package.aliases(bus)
        aliases_by_bus = group_by_bus((path, self._view.get_facts(path)) for path in modules)
        return aliases_by_bus.get(bus, ()) if bus is not None else _flatten(aliases_by_bus)

    def _find_by_path(self, text: str) -> tuple[RootPath, ...]:
        requested = (
            text.replace("/lib/modules/", f"{MODULES_DIRECTORY}/", 1)
            if text.startswith("/lib/")
            else text
        )
        start = "" if requested.startswith("/") else self.directory + "/"
        paths = (
            self.modules[name]
            for path, name in self._name_by_path.items()
            if path_glob.matches(start + requested, path)
            or path_glob.matches(start + requested, strip_compression(path))
        )
        return tuple(dict.fromkeys(paths))

    @cached_property
    def _name_by_path(self) -> Mapping[RootPath, str]:
        """Every module's path, sorted, also where another file of its name counts → its name."""
        paths = sorted(self._list_module_paths())
        return {path: name for path in paths if (name := get_module_name(path)) in self.modules}

    def _find_by_glob(self, glob: str) -> ModuleMatches:
        return ModuleMatches(
            tuple(path for name, path in self.modules.items() if path_glob.matches(glob, name)),
            tuple(name for name in sorted(self.builtin_modules) if path_glob.matches(glob, name)),
        )


class AliasIndex:
    """Aliases with the modules that they name, found by their prefix."""

    def __init__(self, list_aliases: Callable[[str | None], Sequence[ModuleAlias]]) -> None:
        """`list_aliases` gives the aliases of a bus, or with None of all buses."""
        self.get_bus = cache(list_aliases)

    def find_matching(self, requested: str) -> Iterator[str]:
        """Modules whose aliases match `requested`, an alias or a glob of aliases."""
        prefix = path_glob.get_literal_prefix(requested)
        has_bus = ":" in prefix or prefix == requested
        buses: dict[str | None, None] = dict.fromkeys(
            (parse_bus(prefix), "") if has_bus else (None,)
        )
        for alias, name in (each for one in buses for each in self.get_bus(one)):
            alias_prefix = path_glob.get_literal_prefix(alias)
            may_match = prefix.startswith(alias_prefix) or alias_prefix.startswith(prefix)
            if may_match and _globs_intersect(requested, alias):
                yield name


def _flatten(aliases_by_bus: Mapping[str, Sequence[ModuleAlias]]) -> list[ModuleAlias]:
    return [each for aliases in aliases_by_bus.values() for each in aliases]


def parse_image_version(path: str) -> str:
    """The version of the kernel image at `path`; "" for another file."""
    if path_glob.matches(IMAGE_GLOB, path):
        return path.partition("-")[2]
    return path.split("/")[4] if path_glob.matches(IMAGE_GLOBS[1], path) else ""


def strip_compression(path: str) -> str:
    """`path` of a module without the suffix of its compression."""
    stem, dot, _ = path.rpartition(".ko")
    return stem + dot


def _globs_intersect(requested: str, alias: str) -> bool:
    """Tell whether a wanted alias or glob and a module's alias glob can mean one device."""
    return (
        requested == alias
        or _compile_alias(alias).fullmatch(requested) is not None
        or (path_glob.is_glob(requested) and _glob_covers_alias(requested, alias))
    )


def _glob_covers_alias(requested: str, alias: str) -> bool:
    """Tell whether a glob of devices means an alias that serves some of them.

    pci:v00001AF4* names a vendor: drivers of a class of devices, pci:v*d*…bc01sc06*, of whomever,
    are not meant, though the vendor may make such a device.
    """
    is_open = _OPEN_PREFIX.fullmatch(path_glob.get_literal_prefix(alias)) is not None
    if is_open and not _OPEN_PREFIX.fullmatch(path_glob.get_literal_prefix(requested)):
        return False
    return path_glob.globs_intersect(requested, alias)


_OPEN_PREFIX = re.compile(r"[^:]+:[a-z]*")
"""How an alias begins that leaves its first field open: pci:v, usb:v, acpi: alone."""


def _compile_alias(glob: str) -> re.Pattern[str]:
    # aliases are no paths: `*` runs over `/` too. Source: fnmatch(3) as depmod uses it
    return path_glob.compile_glob(glob.replace("*", "**"))
