"""What one kernel offers: its modules by name, alias and path, built-ins, options."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

from minbuild.facts.aliases import bus, by_bus, underscored
from minbuild.facts.types import Alias, Builtins, FileFacts, Files, KernelConfig, Module
from minbuild.facts.versions import version_key
from minbuild.paths import RootPath
from minbuild.resolve import pattern
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.depmod import chosen, module_name, search_order
from minbuild.resolve.knowledge import BUILT_IN_DEVICES

IMAGE = "/boot/vmlinu[xz]-*"
"""riscv64's is not compressed."""
MODULES = "/usr/lib/modules"
IMAGES = (IMAGE, f"{MODULES}/*/vmlinu[xz]")
"""Where packages keep it; the second is Debian's place since Linux 7."""
MODULE_FORMS = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")


@dataclass(frozen=True, slots=True)
class Hits:
    """What a module's name, alias, path or glob stands for."""

    paths: tuple[RootPath, ...] = ()
    builtin: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.paths or self.builtin)


class Kernel:
    """The kernel of the image; everything in it is computed when first asked for."""

    def __init__(self, catalog: Catalog, version: str = "", asked: str = "") -> None:
        self._catalog = catalog
        self._given = version
        self._asked = asked

    @cached_property
    def version(self) -> str:
        """`uname -r` of the kernel: as given, else the one with most modules; "" without any.

        Of several with as many the newest.
        """
        if self._given:
            return self._given
        counts: dict[str, int] = {}
        start = MODULES + "/"
        for files in self._catalog.files:
            for path in files.entries:
                if path.startswith(start):
                    version = path[len(start) :].partition("/")[0]
                    counts[version] = counts.get(version, 0) + 1
        return max(counts, key=lambda one: (counts[one], version_key(one)), default="")

    @property
    def directory(self) -> str:
        return f"{MODULES}/{self.version}"

    @cached_property
    def package(self) -> str:
        """The package of the modules, or of the image; without modules the one that was asked for."""
        if self._asked and not self.modules:
            return self._asked
        names = (RootPath(f"/boot/vmlinu{end}-{self.version}") for end in "xz")
        owner = next(filter(None, map(self._catalog.owner, names)), "")
        return owner or next((self._catalog.owner(path) for path in self.modules.values()), "")

    @cached_property
    def modules(self) -> Mapping[str, RootPath]:
        """Loadable modules by name, sorted by path; of several with one name depmod's choice."""
        if not self.version:
            return {}
        order = search_order(self._catalog, self.version)
        found = chosen(self._module_paths(), self.directory, order)
        return {module_name(path): path for path in found}

    @cached_property
    def builtin(self) -> Mapping[str, Module]:
        """Modules that are part of the kernel image, by name."""
        found: dict[str, Module] = {}
        for name in ("modules.builtin", "modules.builtin.modinfo"):
            facts = self._catalog.facts(RootPath(f"{self.directory}/{name}"))
            if isinstance(facts, Builtins):
                found |= facts.modules
        for name, devices in BUILT_IN_DEVICES.items():
            one = found.get(name)
            if one is not None and not any(":" in alias for alias in one.aliases):
                found[name] = replace(one, aliases=(*one.aliases, *devices))
        return found

    @property
    def config_path(self) -> RootPath:
        beside = RootPath(f"{self.directory}/config")
        if self._catalog.entry(beside) is not None:
            return beside
        return RootPath(f"/boot/config-{self.version}")

    @cached_property
    def options(self) -> Mapping[str, str]:
        """Options of the kernel's configuration, without CONFIG_."""
        facts = self._catalog.facts(self.config_path) if self.version else None
        return facts.options if isinstance(facts, KernelConfig) else {}

    def find(self, text: str) -> Hits:
        """Find modules by path or its glob, by name or its glob, by alias, by a built-in's name.

        Source: kmod, libkmod-module.c kmod_module_new_from_lookup: loadable modules of a name go
        before aliases, and these before built-in modules: crc32 is crc32_generic, though the
        library crc32 is built in.
        """
        # of an alias it is a part: devname:net/tun, dmi…bd07/12/2017
        if "/" in text and ":" not in text:
            return Hits(paths=self._by_path(text))
        name = text.replace("-", "_")
        if name in self.modules:
            return Hits(paths=(self.modules[name],))
        hits = self._by_glob(name) if pattern.is_pattern(text) and ":" not in text else Hits()
        hits = hits or self.by_alias(text)
        return Hits(builtin=(name,)) if name in self.builtin and not hits.paths else hits

    def by_alias(self, alias: str) -> Hits:
        """Find every module that says it serves `alias`, which may be a glob itself."""
        wanted = underscored(alias)
        loadable = dict.fromkeys(map(RootPath, self._aliases.serving(wanted)))
        builtin = dict.fromkeys(self._builtin_aliases.serving(wanted))
        return Hits(tuple(loadable), tuple(builtin))

    def _module_paths(self) -> Iterator[RootPath]:
        start = self.directory + "/"
        holders = [one for one in self._catalog.files if self.directory in one.entries]
        for files in holders or self._catalog.files:
            for path in files.entries:
                if path.startswith(start) and path.endswith(MODULE_FORMS):
                    yield path

    @cached_property
    def _aliases(self) -> "Aliases":
        holders = [files for files in self._catalog.files if self.directory in files.entries]
        return Aliases(lambda bus: sorted(self._loadable(holders, bus), key=lambda each: each[1]))

    @cached_property
    def _builtin_aliases(self) -> "Aliases":
        found = by_bus((RootPath(name), self.builtin[name]) for name in sorted(self.builtin))
        return Aliases(lambda bus: found.get(bus, ()) if bus is not None else _every(found))

    def _loadable(self, holders: Sequence[Files], bus: str | None) -> Iterator[Alias]:
        """Aliases of one bus, None: of all, with the path of the module that counts."""
        counted = set(self.modules.values())
        for files in holders or self._catalog.files:
            if files.aliases is not None:
                near = files.aliases(bus)
            else:
                modules = (path for path in files.entries if path in counted)
                found = by_bus((path, self._facts(path)) for path in modules)
                near = found.get(bus, ()) if bus is not None else _every(found)
            yield from (
                (alias, path)
                for alias, path in near
                if path in counted and self._catalog.owner(path) == files.owner
            )

    def _facts(self, path: RootPath) -> FileFacts | None:
        """The facts of a module, which may be a link to another kernel's (weak-updates/)."""
        real = self._catalog.real(path)
        return self._catalog.facts(real) if real is not None else None

    def _by_path(self, text: str) -> tuple[RootPath, ...]:
        wanted = (
            text.replace("/lib/modules/", f"{MODULES}/", 1) if text.startswith("/lib/") else text
        )
        start = "" if wanted.startswith("/") else self.directory + "/"
        found = (
            self.modules[name]
            for path, name in self._names.items()
            if pattern.matches(start + wanted, path) or pattern.matches(start + wanted, plain(path))
        )
        return tuple(dict.fromkeys(found))

    @cached_property
    def _names(self) -> Mapping[RootPath, str]:
        """Every module's path, sorted, also where another file of its name counts → its name."""
        paths = sorted(self._module_paths())
        return {path: name for path in paths if (name := module_name(path)) in self.modules}

    def _by_glob(self, glob: str) -> Hits:
        return Hits(
            tuple(path for name, path in self.modules.items() if pattern.matches(glob, name)),
            tuple(name for name in sorted(self.builtin) if pattern.matches(glob, name)),
        )


class Aliases:
    """Many aliases with what they name, found by how they begin."""

    def __init__(self, near: Callable[[str | None], Sequence[Alias]]) -> None:
        """`near` gives the aliases of a bus, or with None those of all."""
        self._near = cache(near)

    def serving(self, wanted: str) -> Iterator[str]:
        """What is named by aliases that serve `wanted`, an alias or a glob of them."""
        begins = pattern.prefix(wanted)
        some = ":" in begins or begins == wanted
        buses: dict[str | None, None] = dict.fromkeys((bus(begins), "") if some else (None,))
        for alias, name in (each for one in buses for each in self._near(one)):
            start = pattern.prefix(alias)
            near = begins.startswith(start) or start.startswith(begins)
            if near and _overlap(wanted, alias):
                yield name


def _every(found: Mapping[str, Sequence[Alias]]) -> list[Alias]:
    return [each for aliases in found.values() for each in aliases]


def image_version(path: str) -> str:
    """The version of the kernel image at `path`; "" for another file."""
    if pattern.matches(IMAGE, path):
        return path.partition("-")[2]
    return path.split("/")[4] if pattern.matches(IMAGES[1], path) else ""


def plain(path: str) -> str:
    """`path` of a module without the suffix of its compression."""
    stem, dot, _ = path.rpartition(".ko")
    return stem + dot


def _overlap(wanted: str, alias: str) -> bool:
    """Tell whether a wanted alias or glob and a module's alias glob can mean one device."""
    return (
        wanted == alias
        or _alias(alias).fullmatch(wanted) is not None
        or (pattern.is_pattern(wanted) and _alike(wanted, alias))
    )


def _alike(wanted: str, alias: str) -> bool:
    """Tell whether a glob of devices means an alias that serves some of them.

    pci:v00001AF4* names a vendor: drivers of a class of devices, pci:v*d*…bc01sc06*, of whomever,
    are not meant, though the vendor may make such a device.
    """
    of_whomever = _OPEN.fullmatch(pattern.prefix(alias)) is not None
    if of_whomever and not _OPEN.fullmatch(pattern.prefix(wanted)):
        return False
    return pattern.overlap(wanted, alias)


_OPEN = re.compile(r"[^:]+:[a-z]*")
"""How an alias begins that leaves its first field open: pci:v, usb:v, acpi: alone."""


def _alias(glob: str) -> re.Pattern[str]:
    # aliases are no paths: `*` runs over `/` too. Source: fnmatch(3) as depmod uses it
    return pattern.compiled(glob.replace("*", "**"))
