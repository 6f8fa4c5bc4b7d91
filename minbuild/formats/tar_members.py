"""Reader of any tar: v7, ustar, pax and GNU, sparse files too.

What two readers could take for two things is refused. Source: pax(1), POSIX.1-2017, "ustar
Interchange Format" and "pax Extended Header"; GNU tar 1.35, src/list.c, src/xheader.c; tar(5).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from minbuild.errors import MalformedFile
from minbuild.formats import tar_sparse
from minbuild.formats.region import Region
from minbuild.formats.root_entry import FileType
from minbuild.formats.tar_header import PaxRecords, parse_pax_records, read_pax_capability
from minbuild.formats.tar_sparse import Extent
from minbuild.paths import escape_name

BLOCK = 512
MAX_MEMBERS = 500_000
MAX_NAME, MAX_LINK_TEXT = 32_768, 4096
"""Bytes of a name, which is laid down piece by piece, and of a link's text: limits.h, PATH_MAX."""
MAX_EXTENDED_HEADER = 1 << 20
"""Bytes of an extended header: a file may have 64 KiB of attributes."""
_FILE_TYPES = {
    "0": FileType.FILE, "\0": FileType.FILE, "7": FileType.FILE, "S": FileType.FILE,
    "1": FileType.HARDLINK, "2": FileType.LINK, "5": FileType.DIRECTORY, "D": FileType.DIRECTORY,
    "3": FileType.OTHER, "4": FileType.OTHER, "6": FileType.OTHER,
}  # fmt: skip
_VOLUME_LABEL, _LONG_NAMES, _PAX_LOCAL, _PAX_GLOBAL = "V", "LK", "xX", "g"
_ASCII = bytes(range(128))
_NEVER_GLOBAL = {b"path", b"linkpath", b"size"}


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member, checked."""

    name: str
    """Relative to the top, without `.` and doubled slashes; "" for the top. Undecodable bytes are
    surrogates."""
    kind: FileType
    mode: int
    """Permission bits with setuid, setgid and sticky."""
    uid: int
    gid: int
    size: int
    """Of a file, with its holes."""
    target: str
    """A link's text as it stands; a hard link's other name, as `name`; a device's `c 1:3`."""
    capability: bytes
    extents: tuple[Extent, ...]
    """Where a file's data lies in the archive."""


@dataclass(slots=True)
class _PendingHeaders:
    """What extended headers say of the member behind them."""

    names: dict[str, bytes]
    records: PaxRecords | None = None

    def __bool__(self) -> bool:
        return bool(self.names) or self.records is not None


def is_tar_header(block: bytes) -> bool:
    """Tell whether a block begins a tar: by its checksum, as there are tars without a magic."""
    try:
        return len(block) == BLOCK and any(block[:100]) and _has_valid_checksum(block)
    except MalformedFile:
        return False


def read_tar_members(tar: Region) -> Iterator[TarMember]:
    """Every member in the archive's order. Raises: MalformedFile."""
    offset = 0
    pending = _PendingHeaders({})
    global_records: Mapping[bytes, bytes] = {}
    for _ in range(MAX_MEMBERS):
        block = _read_header(tar, offset)
        if block is None:
            if pending:
                raise MalformedFile("it ends behind an extended header")
            return
        kind = chr(block[156])
        body_size = _parse_number(block[124:136], "size")
        if kind in (*_LONG_NAMES, *_PAX_LOCAL, _PAX_GLOBAL):
            body, offset = _read_extended_header(tar, offset, body_size)
            global_records = _add_extended_header(kind, body, pending, global_records)
            continue
        member, offset = _parse_member(tar, offset, block, pending, global_records)
        pending = _PendingHeaders({})
        if member is not None:
            yield member
    raise MalformedFile(f"it has more than {MAX_MEMBERS} members, the limit")


def _read_header(tar: Region, offset: int) -> bytes | None:
    """The header at a place, whole; None at the end: two blocks of zeros, or of the file."""
    if offset == tar.size and offset:
        return None
    block = tar.read(offset, BLOCK)
    if not any(block):
        following = tar.read(offset + BLOCK, min(BLOCK, max(0, tar.size - offset - BLOCK)))
        if any(following):
            raise MalformedFile(f"a single block of zeros stands at byte {offset}: readers differ about what follows")  # fmt: skip
        return None
    if not _has_valid_checksum(block):
        raise MalformedFile(f"the header at byte {offset} has a wrong checksum")
    return block


def _has_valid_checksum(block: bytes) -> bool:
    checksum = _parse_number(block[148:156], "checksum")
    rest = block[:148] + b" " * 8 + block[156:]
    total = sum(rest)
    return checksum in (total, total - 256 * len(rest.translate(None, _ASCII)))


def _read_extended_header(tar: Region, offset: int, size: int) -> tuple[bytes, int]:
    if size > MAX_EXTENDED_HEADER:
        raise MalformedFile(f"the extended header at byte {offset} has {size} bytes, the limit is {MAX_EXTENDED_HEADER}")  # fmt: skip
    return tar.read(offset + BLOCK, size), offset + BLOCK + _round_to_blocks(size)


def _add_extended_header(
    kind: str, body: bytes, pending: _PendingHeaders, global_records: Mapping[bytes, bytes]
) -> Mapping[bytes, bytes]:
    """Take an extended header in; returns what now holds for all members to come."""
    if kind in _LONG_NAMES:
        if kind in pending.names:
            raise MalformedFile("a member has two long names")
        pending.names[kind] = body.partition(b"\0")[0]
        return global_records
    pax = parse_pax_records(body)
    if kind == _PAX_GLOBAL:
        if any(key in _NEVER_GLOBAL or key.startswith(b"GNU.sparse.") for key, _ in pax.rows):
            raise MalformedFile("a global extended header gives all members one name or size")
        return {**global_records, **pax.by_key}
    if pending.records is not None:
        raise MalformedFile("a member has two extended headers")
    pending.records = pax
    return global_records


def _parse_member(
    tar: Region,
    offset: int,
    block: bytes,
    pending: _PendingHeaders,
    global_records: Mapping[bytes, bytes],
) -> tuple[TarMember | None, int]:
    """The member of a header, and where the next one begins; None for a volume's label."""
    pax = pending.records or PaxRecords(())
    pax_values = {**global_records, **pax.by_key}
    letter = chr(block[156])
    raw_name = _read_name(block, pending, pax)
    if letter == _VOLUME_LABEL:
        return None, offset + BLOCK
    kind = _find_file_type(letter, raw_name)
    body_size = _parse_pax_number(pax_values, b"size", _parse_number(block[124:136], "size"))
    body_size = (
        0 if kind is FileType.HARDLINK else body_size
    )  # as GNU tar: none follows, whatever it says
    if body_size and kind is not FileType.FILE and letter != "D":
        raise MalformedFile(f"it has a {kind} with content: {escape_name(raw_name)!r}")
    data = offset + BLOCK
    size, extents = 0, tuple[Extent, ...]()
    if kind is FileType.FILE:
        size, data, extents = tar_sparse.read_extents(tar, block, letter, pax, data, body_size)
    end = data + _round_to_blocks(body_size)
    if data + body_size > tar.size:
        raise MalformedFile(f"it is truncated within {escape_name(raw_name)!r}")
    return TarMember(
        name=_clean_name(raw_name),
        kind=kind,
        mode=_parse_number(block[100:108], "mode") & 0o7777,
        uid=_parse_pax_number(pax_values, b"uid", _parse_number(block[108:116], "uid")),
        gid=_parse_pax_number(pax_values, b"gid", _parse_number(block[116:124], "gid")),
        size=size,
        target=_read_target(block, kind, pending, pax_values, raw_name),
        capability=read_pax_capability(pax_values) if kind is FileType.FILE else b"",
        extents=extents,
    ), min(end, tar.size)


def _find_file_type(letter: str, raw_name: bytes) -> FileType:
    """The type of a member; in old archives a directory is a file with a slash at its end."""
    kind = _FILE_TYPES.get(letter)
    if kind is None:
        raise MalformedFile(
            f"it has a member of the unknown type {letter!r}: {escape_name(raw_name)!r}"
        )
    if kind is FileType.FILE and raw_name.endswith(b"/"):
        return FileType.DIRECTORY
    return kind


def _read_name(block: bytes, pending: _PendingHeaders, pax: PaxRecords) -> bytes:
    """The name, from wherever its format keeps it."""
    long, path = pending.names.get("L"), pax.by_key.get(b"path")
    sparse_name = pax.by_key.get(b"GNU.sparse.name")
    if long is not None and (path is not None or sparse_name is not None):
        raise MalformedFile(
            f"a member has two names: {escape_name(long)!r} and {escape_name(path or b'')!r}"
        )
    name = long if long is not None else sparse_name if sparse_name is not None else path
    if name is None:
        name = block[:100].partition(b"\0")[0]
        if block[257:263] == b"ustar\0" and block[345]:
            name = block[345:500].partition(b"\0")[0] + b"/" + name
    if not name or b"\0" in name:
        raise MalformedFile(
            f"it has a member without a name that can be read: {escape_name(name)!r}"
        )
    if len(name) > MAX_NAME:
        raise MalformedFile(f"it has a name of {len(name)} bytes, the limit is {MAX_NAME}")
    return name


def _read_target(
    block: bytes,
    kind: FileType,
    pending: _PendingHeaders,
    pax_values: Mapping[bytes, bytes],
    raw_name: bytes,
) -> str:
    if kind is FileType.OTHER:
        return _format_device(block)
    if kind not in (FileType.LINK, FileType.HARDLINK):
        return ""
    long, path = pending.names.get("K"), pax_values.get(b"linkpath")
    if long is not None and path is not None:
        raise MalformedFile(f"a link has two targets: {escape_name(raw_name)!r}")
    target = next((one for one in (long, path) if one is not None), None)
    target = block[157:257].partition(b"\0")[0] if target is None else target
    if not target or b"\0" in target or len(target) > MAX_LINK_TEXT:
        raise MalformedFile(f"it has a link whose text cannot be read: {escape_name(raw_name)!r}")
    return _clean_name(target) if kind is FileType.HARDLINK else _decode_name(target)


def _format_device(block: bytes) -> str:
    """A device node's type and numbers, as ls(1) has them: `c 1:3`."""
    letter = {"3": "c", "4": "b"}.get(chr(block[156]))
    if letter is None:
        return ""
    return f"{letter} {_parse_number(block[329:337], 'device')}:{_parse_number(block[337:345], 'device')}"


def _clean_name(name: bytes) -> str:
    """A name without `/` at its ends, `.` and doubled slashes. Raises: MalformedFile for one with `..`."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise MalformedFile(f"a name leads out of the root: {escape_name(name)!r}")
    if any(len(part) > 255 for part in parts):
        raise MalformedFile(f"a name is longer than 255 bytes, which no file system takes: {escape_name(name)!r}")  # fmt: skip
    return _decode_name(b"/".join(parts))


def _decode_name(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _round_to_blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _parse_number(field: bytes, label: str) -> int:
    """An octal field, or GNU's base 256 for what does not fit."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.lstrip(b" ").partition(b"\0")[0].partition(b" ")[0]
    if digits.translate(None, b"01234567"):
        raise MalformedFile(f"a header has a {label} that is no number: {field!r}")
    return int(digits, 8) if digits else 0


def _parse_pax_number(pax_values: Mapping[bytes, bytes], key: bytes, default: int) -> int:
    value = pax_values.get(key, b"")
    if not value:
        return default
    if not value.isdigit() or len(value) > 19:
        raise MalformedFile(
            f"an extended header has a {key.decode()} that is no number: {value[:40]!r}"
        )
    return int(value)
