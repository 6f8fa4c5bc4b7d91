"""The aliases of a package's modules, kept by how they begin: a kernel has 20,000 of them.

    aliases-N   SHA-256 of a .deb/BUS   → every alias of that bus, and the module that serves it

The record of the bus "" is written with the others and names them all, so a lost one is seen.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from minbuild.facts import record
from minbuild.facts.types import Alias, FileFacts, Module
from minbuild.paths import RootPath
from minbuild.store import Store

KIND = f"aliases-1-{record.VERSION}"
_BRACKETS = re.compile(r"(\[[^\]]*\])")


def bus(alias: str) -> str:
    """The bus of an alias or a glob of them: pci of pci:v00001AF4*; "" where it has none."""
    start, colon, _ = re.split(r"[*?\[]", alias, maxsplit=1)[0].partition(":")
    return start if colon else ""


def underscored(text: str) -> str:
    """A name or alias with `_` for `-`, but not within brackets.

    Source: kmod, shared/util.c alias_normalize.
    """
    if "[" not in text:
        return text.replace("-", "_")
    parts = _BRACKETS.split(text)
    return "".join(part if part.startswith("[") else part.replace("-", "_") for part in parts)


def by_bus(modules: Iterable[tuple[RootPath, FileFacts | None]]) -> dict[str, list[Alias]]:
    """Sort the aliases of modules by bus, each of them underscored."""
    found: dict[str, list[Alias]] = {}
    for path, facts in modules:
        for alias in map(underscored, facts.aliases if isinstance(facts, Module) else ()):
            found.setdefault(bus(alias), []).append((alias, path))
    return found


def kept(
    package: str,
    wanted: str | None,
    paths: Sequence[RootPath],
    facts: Callable[[RootPath], FileFacts | None],
    store: Store,
) -> Sequence[Alias]:
    """The aliases of one bus (None: of all) of the package with a digest.

    `paths` are all of its files, sorted. What the store lacks is made from `facts` and kept.
    """
    found = _load(package, wanted, paths, store)
    if found is None:
        every = by_bus((path, facts(path)) for path in paths if ".ko" in path)
        _keep(package, every, paths, store)
        names = [wanted] if wanted is not None else list(every)
        found = [alias for name in names for alias in every.get(name, ())]
    return found


def _load(
    package: str, wanted: str | None, paths: Sequence[RootPath], store: Store
) -> list[Alias] | None:
    first = store.get(KIND, f"{package}/")
    if first is None:
        return None
    buses, rows = json.loads(first)
    names = ["", *buses] if wanted is None else [wanted]
    found = []
    for name in names:
        if name in buses:
            value = store.get(KIND, f"{package}/{name}")
            if value is None:
                return None
            found += json.loads(value)
        elif not name:
            found += rows
    return [(alias, paths[index]) for alias, index in found]


def _keep(
    package: str, every: Mapping[str, Sequence[Alias]], paths: Sequence[RootPath], store: Store
) -> None:
    places = {path: index for index, path in enumerate(paths)}
    rows = {
        name: [(alias, places[path]) for alias, path in aliases]
        for name, aliases in sorted(every.items())
    }
    without = rows.pop("", [])
    records: dict[str, object] = {**rows, "": [sorted(rows), without]}
    store.put(
        KIND,
        {f"{package}/{name}": json.dumps(each).encode() for name, each in records.items()},
    )
