"""Module aliases of a package, stored by bus: a kernel has 20,000 of them.

    aliases-N   SHA-256 of a .deb/BUS   → every alias of that bus, and the index of its module

The record of the bus "" is written with the others and names them all, so a lost one is seen.
"""

import json
import re
from collections.abc import Iterable, Sequence

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


def encode_aliases(modules: Iterable[tuple[int, Sequence[str]]]) -> dict[str, bytes]:
    """Make the records of a package: bus → record; `modules` are indices of paths with aliases."""
    rows: dict[str, list[tuple[str, int]]] = {}
    for index, aliases in modules:
        for alias in map(normalize_alias, aliases):
            rows.setdefault(parse_bus(alias), []).append((alias, index))
    busless = rows.pop("", [])
    records: dict[str, object] = {**rows, "": [sorted(rows), busless]}
    return {name: json.dumps(record).encode() for name, record in sorted(records.items())}


def load_aliases(
    package: str, bus: str | None, paths: Sequence[RootPath], store: Store
) -> Sequence[ModuleAlias] | None:
    """The aliases of one bus (None: of all) of the package with a digest; None when a record lacks.

    `paths` are all of its files, sorted.
    """
    first = store.get(RecordKind.MODULE_ALIASES, f"{package}/")
    if first is None:
        return None
    buses, busless = json.loads(first)
    names = ["", *buses] if bus is None else [bus]
    rows = []
    for name in names:
        if name in buses:
            value = store.get(RecordKind.MODULE_ALIASES, f"{package}/{name}")
            if value is None:
                return None
            rows += json.loads(value)
        elif not name:
            rows += busless
    return [(alias, paths[index]) for alias, index in rows]
