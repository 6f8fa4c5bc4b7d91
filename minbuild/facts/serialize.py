"""Serialisation of facts: compact records of which only the requested rows are parsed.

    files-N     SHA-256 of a .deb         → all entries of the package, one row of bytes each
    facts-N     SHA-256 of a .deb/index   → what is known of the entry at that index
    symbols-N   SHA-256 of a .deb/index   → its dynamic symbols

Each record starts with its CRC-32, so a damaged one is seen and computed again. The record of
kind files is written last: where it is, the others are.
"""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from typing import cast

from minbuild.facts.model import (
    BuiltinModules,
    Dlopen,
    Elf,
    FileEntry,
    FileFacts,
    Filter,
    KernelConfig,
    LoaderConfigLines,
    Malformed,
    Module,
    Script,
    Symbols,
    TextLines,
    VersionNeed,
)
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath

HAS_FACTS = 8
_ROW = struct.Struct("<BHIIQ32s")
_KINDS = (FileType.FILE, FileType.LINK, FileType.DIRECTORY, FileType.HARDLINK)
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
HARDLINK = _NUMBERS[FileType.HARDLINK]
_NAMES: dict[type[FileFacts], str] = {
    Elf: "elf",
    Module: "module",
    Script: "script",
    KernelConfig: "config",
    BuiltinModules: "builtins",
    LoaderConfigLines: "listing",
    Malformed: "damaged",
    TextLines: "text",
}


class StaleRecord(Exception):
    """A record is damaged or from another version."""


@dataclass(frozen=True, slots=True)
class ControlInfo:
    """What a package's control file says."""

    version: str
    depends: tuple[tuple[str, ...], ...]
    provides: tuple[str, ...]


def record_key(sha256: str, index: int) -> str:
    """The key of facts and symbols."""
    return f"{sha256}/{index}"


class PackageEntries(Mapping[RootPath, FileEntry]):
    """The entries of one package by path, sorted; each is made when asked for."""

    def __init__(self, text: bytes, targets: bytes, rows: bytes) -> None:
        self._text, self._targets, self._rows = text, targets, rows

    @cached_property
    def paths(self) -> list[RootPath]:
        """Sorted."""
        return cast(list[RootPath], self._text.decode("utf-8").split("\n")) if self._text else []

    @cached_property
    def _indices(self) -> dict[RootPath, int]:
        return {path: index for index, path in enumerate(self.paths)}

    @cached_property
    def _link_targets(self) -> dict[int, str]:
        linked = (_NUMBERS[FileType.LINK], _NUMBERS[FileType.HARDLINK])
        indices = [
            index for index, flags in enumerate(self._rows[:: _ROW.size]) if flags & 3 in linked
        ]
        return dict(zip(indices, self._targets.decode("utf-8").split("\n"), strict=False))

    def __getitem__(self, path: RootPath) -> FileEntry:
        index = self._indices[path]
        flags, mode, uid, gid, size, digest = _ROW.unpack_from(self._rows, index * _ROW.size)
        kind = _KINDS[flags & 3]
        content = kind in (FileType.FILE, FileType.HARDLINK)
        return FileEntry(
            path=path,
            kind=kind,
            mode=mode,
            uid=uid,
            gid=gid,
            size=size,
            sha256=digest.hex() if content else "",
            target="" if kind in (FileType.FILE, FileType.DIRECTORY) else self._link_targets[index],
        )

    def __contains__(self, path: object) -> bool:
        return path in self._indices

    def __iter__(self) -> Iterator[RootPath]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self._rows) // _ROW.size

    def find_index_and_flags(self, path: RootPath) -> tuple[int, int]:
        """The index of a path, and HAS_FACTS where so; (-1, 0) for no path."""
        index = self._indices.get(path, -1)
        return (index, self._rows[index * _ROW.size]) if index >= 0 else (-1, 0)


def encode_files(info: ControlInfo, entries: Sequence[FileEntry], flags: Sequence[int]) -> bytes:
    """Make a record of kind files; `entries` sorted by path, `flags` beside them."""
    text = "\n".join(entry.path for entry in entries).encode()
    targets = "\n".join(
        entry.target for entry in entries if entry.kind in (FileType.LINK, FileType.HARDLINK)
    ).encode()
    rows = b"".join(
        _ROW.pack(
            _NUMBERS[entry.kind] | flag,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.size,
            bytes.fromhex(entry.sha256),
        )
        for entry, flag in zip(entries, flags, strict=True)
    )
    control = json.dumps([info.version, info.depends, info.provides]).encode()
    sizes = struct.pack("<III", len(control), len(text), len(targets))
    return _add_checksum(sizes + control + text + targets + rows)


def decode_files(record: bytes) -> tuple[ControlInfo, PackageEntries]:
    """Read a record of kind files. Raises: Stale."""
    body = _strip_checksum(record)
    sizes = struct.unpack_from("<III", body)
    parts: list[bytes] = []
    offset = 12
    for size in sizes:
        parts.append(body[offset : offset + size])
        offset += size
    version, depends, provides = json.loads(parts[0])
    info = ControlInfo(version, tuple(tuple(group) for group in depends), tuple(provides))
    return info, PackageEntries(parts[1], parts[2], body[offset:])


def encode_facts(facts: FileFacts) -> bytes:
    """Make a record of kind facts."""
    return _encode_json([_NAMES[type(facts)], *_to_values(facts)])


def decode_facts(record: bytes) -> FileFacts:
    """Read a record of kind facts. Raises: Stale."""
    name, *values = json.loads(_strip_checksum(record))
    match name:
        case "elf":
            return _elf_from_values(values)
        case "module":
            return _module_from_values(values)
        case "script":
            return Script(*values)
        case "config":
            return KernelConfig(*values)
        case "builtins":
            modules = {name: _module_from_values(fields) for name, fields in values[0].items()}
            return BuiltinModules(modules)
        case "listing":
            return LoaderConfigLines(tuple(*values))
        case "damaged":
            return Malformed(*values)
        case "text":
            return TextLines(tuple(values[0]))
        case _:
            raise StaleRecord(name)


def encode_symbols(symbols: Symbols) -> bytes:
    """Make a record of kind symbols."""
    parts = (symbols.defined, symbols.undefined, symbols.weak)
    return _add_checksum("\0\0".join("\0".join(part) for part in parts).encode())


def decode_symbols(record: bytes) -> Symbols:
    """Read a record of kind symbols. Raises: Stale."""
    parts = _strip_checksum(record).decode("utf-8").split("\0\0")
    defined, undefined, weak = (tuple(part.split("\0")) if part else () for part in parts)
    return Symbols(defined, undefined, weak)


def _to_values(facts: FileFacts) -> list[object]:
    """The fields in their order; nested data as lists."""
    if isinstance(facts, Elf):
        values = [getattr(facts, field.name) for field in fields(facts)]
        dlopen, needs = values[_DLOPEN], values[_NEEDS]
        values[_DLOPEN] = [(o.sonames, o.priority, o.feature, o.description) for o in dlopen]
        values[_NEEDS] = [(need.soname, need.versions, need.weak) for need in needs]
        filters = values.pop()  # hardly any object has some
        return [*values, [astuple(one) for one in filters]] if filters else values
    if isinstance(facts, BuiltinModules):
        return [{name: _to_values(module) for name, module in facts.modules.items()}]
    return [getattr(facts, field.name) for field in fields(facts)]


_ELF_FIELDS = [field.name for field in fields(Elf)]
_DLOPEN, _NEEDS = _ELF_FIELDS.index("dlopen"), _ELF_FIELDS.index("version_needs")
_FILTERS = _ELF_FIELDS.index("filters")
"""The last field: a record without it is whole."""


def _elf_from_values(values: list[object]) -> Elf:
    plain = [tuple(value) if isinstance(value, list) else value for value in values]
    dlopen = cast(list[tuple[list[str], str, str, str]], values[_DLOPEN])
    needs = cast(list[tuple[str, list[str], list[str]]], values[_NEEDS])
    plain[_DLOPEN] = tuple(Dlopen(tuple(names), *rest) for names, *rest in dlopen)
    plain[_NEEDS] = tuple(VersionNeed(name, tuple(v), tuple(w)) for name, v, w in needs)
    if len(values) > _FILTERS:
        rows = cast(list[tuple[str, bool, int]], values[_FILTERS])
        plain[_FILTERS] = tuple(Filter(*row) for row in rows)
    return Elf(*plain)  # type: ignore[arg-type]  # the fields in their order, as _values wrote them


def _module_from_values(values: list[object]) -> Module:
    return Module(*(tuple(v) if isinstance(v, list) else v for v in values))  # type: ignore[arg-type]


def _encode_json(value: object) -> bytes:
    return _add_checksum(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _add_checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "little") + body


def _strip_checksum(record: bytes) -> bytes:
    body = record[4:]
    if len(record) < 4 or zlib.crc32(body) != int.from_bytes(record[:4], "little"):
        raise StaleRecord("its checksum is wrong")
    return body
