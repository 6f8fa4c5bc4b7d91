"""Module aliases of a package, stored by bus: a kernel has 20,000 of them.

    aliases-N   SHA-256 of a .deb/BUS   → every alias of that bus, and the index of its module

The record of the bus "" is written with the others and names them all, so a lost one is seen. A
package is asked for aliases of all its modules and for other facts of a few: so a module is unpacked
here as far as the aliases go, an eighth of its bytes.
"""

import json
import re
from collections.abc import Iterable, Sequence

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import MalformedFile
from minbuild.facts.kernel_modules import parse_aliases, read_module, unpack_module
from minbuild.facts.model import FileFacts, Module, ModuleAlias
from minbuild.formats import magic
from minbuild.paths import RootPath

PIECE_SIZE = 16 << 10
"""Bytes of a module that are unpacked at a time."""
MAX_NAME_SIZE = 64
"""Bytes of the longest name of a field."""
_FIELD = re.compile(rb"[A-Za-z_][A-Za-z0-9_.]{0,62}=")
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


def read_aliases(path: str, data: bytes) -> tuple[str, ...]:
    """List the aliases of the module at `path`, compressed as its name says; () for a damaged one.

    The text of .modinfo is known by the release of the kernel in its vermagic, and ends on both
    sides where no NAME=VALUE follows. A module in which it is not found so is read whole.
    Source: Linux, scripts/mod/modpost.c (add_header), scripts/module-common.c.
    """
    mark = b"\0vermagic=" + path.split("/")[4].encode() + b" "
    head = b""
    try:
        for piece in unpack_module(path, data, piece_size=PIECE_SIZE):
            head += piece
            modinfo = _find_modinfo(head, mark) if head.startswith(magic.ELF) else None
            if modinfo is not None:
                return parse_aliases(modinfo)
    except MalformedFile:
        return ()
    module = read_module(path, data)
    return module.aliases if isinstance(module, Module) else ()


def _find_modinfo(head: bytes, mark: bytes) -> bytes | None:
    """The fields around the one that `mark` begins; None while they are not all there."""
    start = head.find(mark) + 1
    if not start:
        return None
    end = start
    while _FIELD.match(head, end):
        end = head.find(b"\0", end) + 1
        if not end:
            return None
    if len(head) - end < MAX_NAME_SIZE:
        return None
    while _FIELD.match(head, previous := head.rfind(b"\0", 0, start - 1) + 1):
        start = previous
    # no zero byte stands before the first field where code or numbers do
    first = head.rfind(b"alias=", previous, start)
    return head[first if first >= 0 else start : end]


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
