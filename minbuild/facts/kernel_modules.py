"""Kernel modules: what .modinfo says of them, and the lists of those that are built in.

Source: Linux include/linux/module.h (MODULE_INFO), scripts/mod/modpost.c.
"""

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from minbuild.errors import MalformedFile
from minbuild.facts.kernel_symbols import read_module_table
from minbuild.facts.model import BuiltinModules, Malformed, Module, Symbols
from minbuild.facts.module_requests import read_requests
from minbuild.formats import magic
from minbuild.formats.compression import decompress, decompress_stream
from minbuild.formats.elf_file import ElfFile, decode_printable

MAX_MODULE_SIZE = 256 << 20
"""Bytes of the largest module, unpacked."""
MAX_RATIO, _SLACK = 64, 1 << 20
"""How many times its own size a compressed module may unpack to, and bytes beyond that.

ni_routing.ko of Linux 6.1 is 23 times as large as its .xz, and no other 16 times.
"""
_NAME = re.compile(r"([^/]+)\.ko(\.xz|\.zst|\.gz)?\Z")
_SEPARATORS = re.compile(r"[,\s]+")
PIECE_SIZE = 16 << 10
"""Bytes of a module that are unpacked at a time in search of its aliases."""
MAX_NAME_SIZE = 64
"""Bytes of the longest name of a field in .modinfo."""
_FIELD = re.compile(rb"[A-Za-z_][A-Za-z0-9_.]{0,62}=")


def read_module(path: str, data: bytes) -> Module | Malformed:
    """Read the facts of the module at `path`, compressed as its name says."""
    try:
        elf = _open_module(path, data)
        fields = _parse_modinfo(elf.read_section(b".modinfo"))
        module = _build_module(_normalise_name(_match_name(path)[1]), fields)
        symbols = read_module_table(elf)
        if symbols is None:
            return module
        imported = (name.partition("@")[0] for name in symbols.undefined + symbols.weak)
        return replace(module, requests=read_requests(elf, tuple(imported)))
    except MalformedFile as damage:
        return Malformed(damage.reason)


def read_module_symbols(path: str, data: bytes) -> Symbols | None:
    """The symbols of the module at `path`, compressed as its name says.

    None without a symbol table, or where the file is damaged.
    """
    try:
        return read_module_table(_open_module(path, data))
    except MalformedFile:
        return None


def read_aliases(path: str, data: bytes) -> tuple[str, ...]:
    """List the aliases of the module at `path`, compressed as its name says; () for a damaged one.

    A package is asked for aliases of all its modules and for other facts of a few, so a module is
    unpacked as far as its aliases go: an eighth of its bytes.
    The text of .modinfo is known by the release of the kernel in its vermagic, and ends on both
    sides where no NAME=VALUE follows. A module in which it is not found so is read whole.
    Source: Linux, scripts/mod/modpost.c (add_header), scripts/module-common.c.
    """
    mark = b"\0vermagic=" + path.split("/")[4].encode() + b" "
    try:
        modinfo = _find_modinfo(_unpack_module(path, data), mark, _limit_size(data))
        if modinfo is not None:
            return tuple(text for field, text in _parse_modinfo(modinfo) if field == "alias")
    except MalformedFile:
        return ()
    module = read_module(path, data)
    return module.aliases if isinstance(module, Module) else ()


def _find_modinfo(pieces: Iterable[bytes], mark: bytes, limit: int) -> bytes | None:
    """The fields around the one that `mark` begins; None where there are none.

    Each piece is searched once, so the time is in proportion to what is unpacked.
    Raises: MalformedFile for more than `limit` bytes, or no ELF file.
    """
    head = bytearray()
    start = end = searched = 0
    for piece in pieces:
        head += piece
        if len(head) > limit:
            raise MalformedFile(f"it unpacks to more than {limit} bytes")
        if len(head) >= len(magic.ELF) and not head.startswith(magic.ELF):
            raise MalformedFile("it is no ELF file")
        if not start:
            start = end = head.find(mark, searched) + 1
            searched = start or max(0, len(head) - len(mark) + 1)
        if start:
            end, searched = _skip_fields(head, end, searched)
            if searched == end and len(head) - end >= MAX_NAME_SIZE:
                return _cut_fields(head, start, end)
    return None


def _skip_fields(head: bytearray, end: int, searched: int) -> tuple[int, int]:
    """Where the fields from `end` on stop, and how far `head` was searched for the zero of the last.

    The latter is more than the former while that field is not all there.
    """
    while _FIELD.match(head, end):
        zero = head.find(b"\0", max(end, searched))
        if zero < 0:
            return end, len(head)
        end = searched = zero + 1
    return end, end


def _cut_fields(head: bytearray, start: int, end: int) -> bytes:
    """The fields up to `end`; `start` is that of one of them."""
    while _FIELD.match(head, previous := head.rfind(b"\0", 0, start - 1) + 1):
        start = previous
    # no zero byte stands before the first field where code or numbers do
    first = head.rfind(b"alias=", previous, start)
    return bytes(head[first if first >= 0 else start : end])


def _unpack_module(path: str, data: bytes) -> Iterator[bytes]:
    ending = _match_name(path)[2] or ""
    return decompress_stream(io.BytesIO(data).read, ending, piece_size=PIECE_SIZE)


def _open_module(path: str, data: bytes) -> ElfFile:
    return ElfFile(decompress(data, _match_name(path)[2] or "", _limit_size(data)))


def _limit_size(data: bytes) -> int:
    """Most bytes that this file may unpack to: zstd makes a gigabyte of 32 KB of input."""
    return min(MAX_MODULE_SIZE, _SLACK + MAX_RATIO * len(data))


def _match_name(path: str) -> re.Match[str]:
    match = _NAME.search(path)
    assert match is not None, path
    return match


def read_builtins(modinfo: bytes) -> BuiltinModules | Malformed:
    """Read modules.builtin.modinfo: "name.field=value", each ended by a zero byte."""
    fields: dict[str, list[tuple[str, str]]] = {}
    try:
        for raw in modinfo.split(b"\0"):
            name, dot, rest = _decode_field(raw).partition(".")
            field, equals, value = rest.partition("=")
            if dot and equals:
                fields.setdefault(_normalise_name(name), []).append((field, value))
    except MalformedFile as damage:
        return Malformed(damage.reason)
    return BuiltinModules({name: _build_module(name, fields[name]) for name in sorted(fields)})


def read_builtin_names(text: bytes) -> BuiltinModules:
    """Read modules.builtin: one path of a module below the kernel's tree on each line."""
    lines = text.decode("utf-8", "replace").split()
    names = {_normalise_name(match[1]) for line in lines if (match := _NAME.search(line))}
    return BuiltinModules({name: Module(name) for name in sorted(names)})


def _normalise_name(name: str) -> str:
    return name.replace("-", "_")


def _parse_modinfo(modinfo: bytes) -> list[tuple[str, str]]:
    """Fields in the section's order; what is no field is left out, as modinfo does."""
    pairs = (_decode_field(raw).partition("=") for raw in modinfo.split(b"\0"))
    return [(field, value) for field, equals, value in pairs if equals]


def _decode_field(raw: bytes) -> str:
    """Text of a field; descriptions may have any byte and are not kept: "" for them.

    Raises: Damage when a field that counts is not plain text.
    """
    field = raw.partition(b"=")[0].rpartition(b".")[2]
    return decode_printable(raw) if field in _RELEVANT_FIELDS else ""


_RELEVANT_FIELDS = frozenset(
    {b"name", b"depends", b"softdep", b"weakdep", b"firmware", b"alias", b"vermagic"}
)


def _build_module(name: str, fields: list[tuple[str, str]]) -> Module:
    values: dict[str, list[str]] = {}
    for field, value in fields:
        values.setdefault(field, []).append(value)
    pre, post = _parse_softdep(values.get("softdep", []))
    return Module(
        name=_normalise_name(values["name"][0]) if "name" in values else name,
        depends=_split_names(values.get("depends", [])),
        soft_pre=pre,
        soft_post=post,
        weak=_split_names(values.get("weakdep", [])),
        firmware=tuple(values.get("firmware", [])),
        aliases=tuple(values.get("alias", [])),
        vermagic=values.get("vermagic", [""])[0].strip(),
    )


def _split_names(values: list[str]) -> tuple[str, ...]:
    return tuple(
        _normalise_name(word) for value in values for word in _SEPARATORS.split(value) if word
    )


def _parse_softdep(values: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """ "pre: a b post: c", also in several fields. Source: modprobe.d(5), softdep."""
    modules: dict[str, list[str]] = {"pre:": [], "post:": []}
    for value in values:
        target: list[str] = []
        for word in value.split():
            if word.endswith(":"):
                target = modules.get(word, [])
            else:
                target.append(_normalise_name(word))
    return tuple(modules["pre:"]), tuple(modules["post:"])
