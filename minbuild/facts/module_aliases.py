"""Module aliases of a package, stored by bus: a kernel has 20,000 of them.

    aliases-N   SHA-256 of a .deb/BUS   → every alias of that bus, and the module that serves it

The record of the bus "" is written with the others and names them all, so a lost one is seen.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.facts.model import FileFacts, Module, ModuleAlias
from minbuild.paths import RootPath

_BRACKETS = re.compile(r"(\[[^\]]*\])")


def parse_bus(alias: str) -> str:
    """The bus of an alias or a glob of them: pci of pci:v00001AF4*; "" where it has none."""
    start, colon, _ = re.split(r"[*?\[]", alias, maxsplit=1)[0].partition(":")
    return start if colon else ""


def normalize_alias(text: str) -> str:
    """A name or alias with `_` for `-`, but not within brackets.

    Source: kmod, shared/util.c alias_normalize.
    """
    if "[" not in text:
        return text.replace("-", "_")
    parts = _BRACKETS.split(text)
    return "".join(part if part.startswith("[") else part.replace("-", "_") for part in parts)


def group_by_bus(
    modules: Iterable[tuple[RootPath, FileFacts | None]],
) -> dict[str, list[ModuleAlias]]:
    """Sort the aliases of modules by bus, each of them underscored."""
    groups: dict[str, list[ModuleAlias]] = {}
    for path, facts in modules:
        for alias in map(normalize_alias, facts.aliases if isinstance(facts, Module) else ()):
            groups.setdefault(parse_bus(alias), []).append((alias, path))
    return groups


def load_aliases(
    package: str,
    bus: str | None,
    paths: Sequence[RootPath],
    facts: Callable[[RootPath], FileFacts | None],
    store: Store,
) -> Sequence[ModuleAlias]:
    """The aliases of one bus (None: of all) of the package with a digest.

    `paths` are all of its files, sorted. What the store lacks is made from `facts` and kept.
    """
    aliases = _read_records(package, bus, paths, store)
    if aliases is None:
        groups = group_by_bus((path, facts(path)) for path in paths if ".ko" in path)
        _write_records(package, groups, paths, store)
        names = [bus] if bus is not None else list(groups)
        aliases = [alias for name in names for alias in groups.get(name, ())]
    return aliases


def _read_records(
    package: str, bus: str | None, paths: Sequence[RootPath], store: Store
) -> list[ModuleAlias] | None:
    first = store.get(RecordKind.MODULE_ALIASES, f"{package}/")
    if first is None:
        return None
    buses, rows = json.loads(first)
    names = ["", *buses] if bus is None else [bus]
    pairs = []
    for name in names:
        if name in buses:
            value = store.get(RecordKind.MODULE_ALIASES, f"{package}/{name}")
            if value is None:
                return None
            pairs += json.loads(value)
        elif not name:
            pairs += rows
    return [(alias, paths[index]) for alias, index in pairs]


def _write_records(
    package: str,
    groups: Mapping[str, Sequence[ModuleAlias]],
    paths: Sequence[RootPath],
    store: Store,
) -> None:
    indices = {path: index for index, path in enumerate(paths)}
    rows = {
        name: [(alias, indices[path]) for alias, path in aliases]
        for name, aliases in sorted(groups.items())
    }
    busless = rows.pop("", [])
    records: dict[str, object] = {**rows, "": [sorted(rows), busless]}
    store.put(
        RecordKind.MODULE_ALIASES,
        {f"{package}/{name}": json.dumps(each).encode() for name, each in records.items()},
    )
