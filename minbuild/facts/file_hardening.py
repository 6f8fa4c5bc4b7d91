"""Hardening of a file: whether it is executed, its protections, its exported symbols.

Source: elf(5); glibc's `_FORTIFY_SOURCE` (functions end in `_chk`); GCC's -fstack-protector.
"""

import struct
from collections.abc import Set
from dataclasses import dataclass

from minbuild.errors import MalformedFile
from minbuild.facts.elf_facts import read_elf_symbols
from minbuild.formats import elf_file, magic
from minbuild.formats.elf_file import ElfFile


def read_capability(data: bytes) -> str:
    """File capabilities as a number, of all three revisions.

    Source: capabilities(7); Linux, include/uapi/linux/capability.h, struct vfs_cap_data.
    """
    if len(data) not in (12, 20, 24):
        return f"unknown {data[:24].hex()}"
    low, inherits = struct.unpack_from("<4xII", data)
    if len(data) > 12:
        high, inherits_high = struct.unpack_from("<12xII", data)
        low, inherits = low | high << 32, inherits | inherits_high << 32
    return f"permitted {low:#x}" + (f", inheritable {inherits:#x}" if inherits else "")


PT_GNU_STACK, PT_GNU_RELRO = 0x6474E551, 0x6474E552
PF_X = 1
DT_NEEDED, DT_SONAME, DT_BIND_NOW, DT_FLAGS = 1, 14, 24, 30
DF_BIND_NOW, DF_1_NOW, DF_1_PIE = 0x8, 0x1, 0x08000000
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
LISTEN_FUNCTIONS = ("listen", "accept", "accept4")
"""Functions that only a server calls. Source: listen(2), accept(2)."""
CANARY = "__stack_chk_fail"


@dataclass(frozen=True, slots=True)
class Hardening:
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
    """By what an ELF object can be a server: listen, accept or accept4; `static` and `unreadable`
    where that is unknown."""


DATA = Hardening("data")
UNREADABLE = Hardening("elf", listens="unreadable")
"""An ELF object that is damaged here: the kernel may run it all the same, since it reads less of it."""


def read_hardening(data: bytes) -> Hardening:
    """Look at a file's bytes; of a damaged ELF object nothing is known but that it is one."""
    if data.startswith(magic.SCRIPT):
        argv = data[2:256].partition(b"\n")[0].split()
        return Hardening("script", interpreter=argv[0].decode("utf-8", "replace") if argv else "")
    if not data.startswith(magic.ELF):
        return DATA
    try:
        return _read_elf_hardening(ElfFile(data), data)
    except MalformedFile:
        return UNREADABLE


def _read_elf_hardening(elf: ElfFile, data: bytes) -> Hardening:
    if elf.type in (ET_REL, ET_CORE):
        return DATA
    if elf.type not in (ET_EXEC, ET_DYN):  # the kernel reads its own byte order, not the header's
        return UNREADABLE
    kinds = {segment.kind: segment for segment in elf.segments}
    dynamic = read_elf_symbols(data)
    imports = (*dynamic.undefined, *dynamic.weak) if dynamic else ()
    undefined = {name.partition("@")[0] for name in imports}
    stack = kinds.get(PT_GNU_STACK)
    now = (
        DT_BIND_NOW in elf.tags
        or elf.tags.get(DT_FLAGS, 0) & DF_BIND_NOW
        or elf.tags.get(elf_file.DT_FLAGS_1, 0) & DF_1_NOW
    )
    protections = {
        "pie": elf.type == ET_DYN,
        "relro": PT_GNU_RELRO in kinds,
        "bind-now": bool(now) or elf.dynamic is None,
        "canary": CANARY in undefined,
        "fortify": any(name.endswith("_chk") and name != CANARY for name in undefined),
        "nx": stack is not None and not stack.flags & PF_X,
    }
    lacks = tuple(sorted(name for name, there in protections.items() if not there))
    return Hardening(
        "elf",
        lacks,
        len(dynamic.defined) if dynamic else 0,
        listens=_find_listen_function(elf, undefined),
    )


def _find_listen_function(elf: ElfFile, undefined: Set[str]) -> str:
    if DT_NEEDED not in elf.tags:  # linked statically, unless it is a library: the loader
        return "" if DT_SONAME in elf.tags else "static"
    return next((name for name in LISTEN_FUNCTIONS if name in undefined), "")
