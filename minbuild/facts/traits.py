"""What a file's content adds to an attack surface: is it run, how is it hardened, what it exports.

Source: elf(5); glibc's `_FORTIFY_SOURCE` (functions end in `_chk`); GCC's -fstack-protector.
"""

from collections.abc import Set
from dataclasses import dataclass

from minbuild.facts import elftable
from minbuild.facts.damage import Damage
from minbuild.facts.elftable import Table
from minbuild.facts.symbols import symbols

PT_GNU_STACK, PT_GNU_RELRO = 0x6474E551, 0x6474E552
PF_X = 1
DT_NEEDED, DT_SONAME, DT_BIND_NOW, DT_FLAGS = 1, 14, 24, 30
DF_BIND_NOW, DF_1_NOW, DF_1_PIE = 0x8, 0x1, 0x08000000
ET_EXEC, ET_DYN = 2, 3
SERVES = ("listen", "accept", "accept4")
"""Functions that only a server calls. Source: listen(2), accept(2)."""
CANARY = "__stack_chk_fail"


@dataclass(frozen=True, slots=True)
class Traits:
    """What one file's content shows."""

    sort: str
    """elf, script or data."""
    lacks: tuple[str, ...] = ()
    """Of an ELF object: pie, relro, bind-now, canary, fortify, nx; sorted. A library has no pie
    to lack; canary and fortify may also lack where nothing called for them."""
    exports: int = 0
    """Dynamic symbols that it defines."""
    interpreter: str = ""
    """A script's."""
    listens: str = ""
    """By what an ELF object can be a server: listen, accept or accept4; static: nobody can tell."""


DATA = Traits("data")


def traits(data: bytes) -> Traits:
    """Look at a file's bytes; a damaged ELF object is data."""
    if data.startswith(b"#!"):
        words = data[2:256].partition(b"\n")[0].split()
        return Traits("script", interpreter=words[0].decode("utf-8", "replace") if words else "")
    if not data.startswith(b"\x7fELF"):
        return DATA
    try:
        return _elf(Table(data), data)
    except Damage:
        return DATA


def _elf(table: Table, data: bytes) -> Traits:
    if table.type not in (ET_EXEC, ET_DYN):
        return DATA
    kinds = {segment.kind: segment for segment in table.segments}
    found = symbols(data)
    imports = (*found.undefined, *found.weak) if found else ()
    undefined = {name.partition("@")[0] for name in imports}
    stack = kinds.get(PT_GNU_STACK)
    now = (
        DT_BIND_NOW in table.tags
        or table.tags.get(DT_FLAGS, 0) & DF_BIND_NOW
        or table.tags.get(elftable.DT_FLAGS_1, 0) & DF_1_NOW
    )
    has = {
        "pie": table.type == ET_DYN,
        "relro": PT_GNU_RELRO in kinds,
        "bind-now": bool(now) or table.dynamic is None,
        "canary": CANARY in undefined,
        "fortify": any(name.endswith("_chk") and name != CANARY for name in undefined),
        "nx": stack is not None and not stack.flags & PF_X,
    }
    lacks = tuple(sorted(name for name, there in has.items() if not there))
    return Traits(
        "elf", lacks, len(found.defined) if found else 0, listens=_listens(table, undefined)
    )


def _listens(table: Table, undefined: Set[str]) -> str:
    if DT_NEEDED not in table.tags:  # linked statically, unless it is a library: the loader
        return "" if DT_SONAME in table.tags else "static"
    return next((name for name in SERVES if name in undefined), "")
