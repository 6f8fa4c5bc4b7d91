"""What a kernel module says of itself in .modinfo, and what is built in.

Source: modinfo(8), modules.dep(5), Linux include/linux/module.h.
"""

import re

from minbuild.facts.damage import Damage
from minbuild.facts.elftable import Table, readable
from minbuild.facts.ksymbols import module_symbols
from minbuild.facts.types import Builtins, Damaged, Module, Symbols
from minbuild.facts.unpack import whole

LARGEST = 256 << 20
"""Bytes of the largest module, unpacked."""
_NAME = re.compile(r"([^/]+)\.ko(\.xz|\.zst|\.gz)?\Z")
_WORDS = re.compile(r"[,\s]+")


def module(path: str, data: bytes) -> tuple[Module | Damaged, Symbols | None]:
    """Read the facts and symbols of the module at `path`, compressed as its name says."""
    found = _NAME.search(path)
    assert found is not None, path
    try:
        table = Table(whole(data, found[2] or "", LARGEST))
        fields = _fields(table.section(b".modinfo"))
        return _module(_plain(found[1]), fields), module_symbols(table)
    except Damage as damage:
        return Damaged(damage.reason), None


def builtins(modinfo: bytes) -> Builtins | Damaged:
    """Read modules.builtin.modinfo: "name.field=value", each ended by a zero byte."""
    fields: dict[str, list[tuple[str, str]]] = {}
    try:
        for raw in modinfo.split(b"\0"):
            name, dot, rest = _text(raw).partition(".")
            field, equals, value = rest.partition("=")
            if dot and equals:
                fields.setdefault(_plain(name), []).append((field, value))
    except Damage as damage:
        return Damaged(damage.reason)
    return Builtins({name: _module(name, fields[name]) for name in sorted(fields)})


def builtin_names(text: bytes) -> Builtins:
    """Read modules.builtin: one path of a module below the kernel's tree on each line."""
    lines = text.decode("utf-8", "replace").split()
    names = {_plain(found[1]) for line in lines if (found := _NAME.search(line))}
    return Builtins({name: Module(name) for name in sorted(names)})


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _fields(modinfo: bytes) -> list[tuple[str, str]]:
    """Fields in the section's order; what is no field is left out, as modinfo does."""
    pairs = (_text(raw).partition("=") for raw in modinfo.split(b"\0"))
    return [(field, value) for field, equals, value in pairs if equals]


def _text(raw: bytes) -> str:
    """Text of a field; descriptions may have any byte and are not kept: "" for them.

    Raises: Damage when a field that counts is not plain text.
    """
    field = raw.partition(b"=")[0].rpartition(b".")[2]
    return readable(raw) if field in _KEPT else ""


_KEPT = frozenset({b"name", b"depends", b"softdep", b"weakdep", b"firmware", b"alias", b"vermagic"})


def _module(name: str, fields: list[tuple[str, str]]) -> Module:
    found: dict[str, list[str]] = {}
    for field, value in fields:
        found.setdefault(field, []).append(value)
    pre, post = _soft(found.get("softdep", []))
    return Module(
        name=_plain(found["name"][0]) if "name" in found else name,
        depends=_list(found.get("depends", [])),
        soft_pre=pre,
        soft_post=post,
        weak=_list(found.get("weakdep", [])),
        firmware=tuple(found.get("firmware", [])),
        aliases=tuple(found.get("alias", [])),
        vermagic=found.get("vermagic", [""])[0].strip(),
    )


def _list(values: list[str]) -> tuple[str, ...]:
    return tuple(_plain(word) for value in values for word in _WORDS.split(value) if word)


def _soft(values: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """ "pre: a b post: c", also in several fields. Source: modprobe.d(5), softdep."""
    found: dict[str, list[str]] = {"pre:": [], "post:": []}
    for value in values:
        to: list[str] = []
        for word in value.split():
            if word.endswith(":"):
                to = found.get(word, [])
            else:
                to.append(_plain(word))
    return tuple(found["pre:"]), tuple(found["post:"])
