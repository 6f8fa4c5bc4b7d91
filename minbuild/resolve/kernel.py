"""What one kernel offers: its modules by name, alias and path, built-ins, options, firmware."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from minbuild.facts.types import Builtins, KernelConfig, Module
from minbuild.paths import RootPath
from minbuild.resolve import pattern
from minbuild.resolve.catalog import Catalog, Reach

IMAGE = "/boot/vmlinu[xz]-*"
"""riscv64's is not compressed."""
MODULES = "/usr/lib/modules"
IMAGES = (IMAGE, f"{MODULES}/*/vmlinu[xz]")
"""Where packages keep it; the second is Debian's place since Linux 7."""
FIRMWARE = "/lib/firmware"
"""As the kernel asks for it. Source: kernel drivers/base/firmware_loader/main.c, fw_path."""
FIRMWARE_FORMS = ("", ".zst", ".xz")
"""Source: the same, _request_firmware."""
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
        """`uname -r` of the kernel: as given, else the one with most modules; "" without any."""
        if self._given:
            return self._given
        counts: dict[str, int] = {}
        start = MODULES + "/"
        for files in self._catalog.files:
            for path in files.entries:
                if path.startswith(start):
                    version = path[len(start) :].partition("/")[0]
                    counts[version] = counts.get(version, 0) + 1
        return max(sorted(counts), key=lambda version: counts[version], default="")

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
        """Loadable modules by name, sorted by path; of two with one name the first."""
        found: dict[str, RootPath] = {}
        if self.version:
            for path in sorted(self._module_paths()):
                found.setdefault(module_name(path), path)
        return found

    @cached_property
    def builtin(self) -> Mapping[str, Module]:
        """Modules that are part of the kernel image, by name."""
        found: dict[str, Module] = {}
        for name in ("modules.builtin", "modules.builtin.modinfo"):
            facts = self._catalog.facts(RootPath(f"{self.directory}/{name}"))
            if isinstance(facts, Builtins):
                found |= facts.modules
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
        if "/" in text:
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
        loadable = dict.fromkeys(self._aliases.serving(wanted))
        builtin = dict.fromkeys(self._builtin_aliases.serving(wanted))
        return Hits(tuple(self.modules[name] for name in loadable), tuple(builtin))

    def firmware(self, name: str) -> Iterator[tuple[str, Reach]]:
        """Every file that serves the firmware `name`: the raw path and where it ends."""
        for directory in (f"{FIRMWARE}/updates/{self.version}", f"{FIRMWARE}/updates",
                          f"{FIRMWARE}/{self.version}", FIRMWARE):  # fmt: skip
            found = [
                (raw, reached)
                for raw in self._firmware_paths(f"{directory}/{name}")
                if (reached := self._catalog.reach(raw)) is not None
            ]
            if found:
                yield from found
                return

    def _firmware_paths(self, raw: str) -> Iterator[str]:
        if not pattern.is_pattern(raw):
            forms = (raw + form for form in FIRMWARE_FORMS)
            first = next((form for form in forms if self._catalog.reach(form)), None)
            yield from [first] if first else []
            return
        plain: set[str] = set()
        for form in FIRMWARE_FORMS:
            for path in self._catalog.matching("/usr" + raw + form):
                stem = path.removesuffix(form)
                if stem not in plain and (form or not path.endswith(FIRMWARE_FORMS[1:])):
                    plain.add(stem)
                    yield path.removeprefix("/usr")

    def _module_paths(self) -> Iterator[RootPath]:
        start = self.directory + "/"
        holders = [one for one in self._catalog.files if self.directory in one.entries]
        for files in holders or self._catalog.files:
            for path in files.entries:
                if path.startswith(start) and path.endswith(MODULE_FORMS):
                    yield path

    @cached_property
    def _aliases(self) -> "Aliases":
        facts = {name: self._catalog.facts(path) for name, path in self.modules.items()}
        return Aliases({name: one for name, one in facts.items() if isinstance(one, Module)})

    @cached_property
    def _builtin_aliases(self) -> "Aliases":
        return Aliases(dict(sorted(self.builtin.items())))

    def _by_path(self, text: str) -> tuple[RootPath, ...]:
        wanted = (
            text.replace("/lib/modules/", f"{MODULES}/", 1) if text.startswith("/lib/") else text
        )
        start = "" if wanted.startswith("/") else self.directory + "/"
        return tuple(
            path
            for path in self.modules.values()
            if pattern.matches(start + wanted, path) or pattern.matches(start + wanted, plain(path))
        )

    def _by_glob(self, glob: str) -> Hits:
        return Hits(
            tuple(path for name, path in self.modules.items() if pattern.matches(glob, name)),
            tuple(name for name in sorted(self.builtin) if pattern.matches(glob, name)),
        )


class Aliases:
    """The aliases of many modules, found by how they begin: a kernel has 20,000 of them."""

    def __init__(self, modules: Mapping[str, Module]) -> None:
        self._by_bus: dict[str, list[tuple[str, str, str]]] = {}
        for name, module in modules.items():
            for alias in map(underscored, module.aliases):
                start = pattern.prefix(alias)
                self._by_bus.setdefault(_bus(start), []).append((start, alias, name))

    def serving(self, wanted: str) -> Iterator[str]:
        """Names of the modules that serve `wanted`, an alias or a glob of them."""
        begins = pattern.prefix(wanted)
        for start, alias, name in self._near(begins, glob=begins != wanted):
            near = begins.startswith(start) or start.startswith(begins)
            if near and _overlap(wanted, alias):
                yield name

    def _near(self, begins: str, *, glob: bool) -> Iterator[tuple[str, str, str]]:
        buses = dict.fromkeys((_bus(begins), "")) if ":" in begins or not glob else self._by_bus
        for bus in buses:
            yield from self._by_bus.get(bus, ())


def _bus(start: str) -> str:
    """pci of pci:v00001AF4; "" where an alias has no bus, or a glob before it ends."""
    bus, colon, _ = start.partition(":")
    return bus if colon else ""


def underscored(text: str) -> str:
    """A name or alias with `_` for `-`, but not within brackets.

    Source: kmod, shared/util.c alias_normalize.
    """
    return "".join(
        part if part.startswith("[") else part.replace("-", "_")
        for part in re.split(r"(\[[^\]]*\])", text)
    )


def image_version(path: str) -> str:
    """The version of the kernel image at `path`; "" for another file."""
    if pattern.matches(IMAGE, path):
        return path.partition("-")[2]
    return path.split("/")[4] if pattern.matches(IMAGES[1], path) else ""


def module_name(path: str) -> str:
    """The name of the module at `path`: `-` and `_` are one. Source: modprobe(8)."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


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
