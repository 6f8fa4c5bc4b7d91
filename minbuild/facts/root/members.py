"""The members of a tar of anyone's making: v7, ustar, pax and GNU, sparse files too.

What two readers could take for two things is refused. Source: pax(1), POSIX.1-2017, "ustar
Interchange Format" and "pax Extended Header"; GNU tar 1.35, src/list.c, src/xheader.c; tar(5).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from minbuild.facts.damage import Damage
from minbuild.facts.root import sparse
from minbuild.facts.root.pax import Records, capability, records
from minbuild.facts.root.region import Region
from minbuild.facts.root.sparse import Extent
from minbuild.facts.types import Kind
from minbuild.paths import spelled

BLOCK = 512
MOST_MEMBERS = 500_000
LONGEST_NAME, LONGEST_TEXT = 32_768, 4096
"""Bytes of a name, which is laid down piece by piece, and of a link's text: limits.h, PATH_MAX."""
LARGEST_HEADER = 1 << 20
"""Bytes of an extended header: a file may have 64 KiB of attributes."""
_KINDS = {
    "0": Kind.FILE, "\0": Kind.FILE, "7": Kind.FILE, "S": Kind.FILE,
    "1": Kind.HARDLINK, "2": Kind.LINK, "5": Kind.DIRECTORY, "D": Kind.DIRECTORY,
    "3": Kind.OTHER, "4": Kind.OTHER, "6": Kind.OTHER,
}  # fmt: skip
_LABEL, _LONG, _LOCAL, _GLOBAL = "V", "LK", "xX", "g"
_NOT_FOR_ALL = {b"path", b"linkpath", b"size"}


@dataclass(frozen=True, slots=True)
class Member:
    """One member, checked."""

    name: str
    """Relative to the top, without `.` and doubled slashes; "" for the top. Undecodable bytes are
    surrogates."""
    kind: Kind
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
class _Pending:
    """What extended headers say of the member behind them."""

    names: dict[str, bytes]
    records: Records | None = None

    def __bool__(self) -> bool:
        return bool(self.names) or self.records is not None


def is_header(block: bytes) -> bool:
    """Tell whether a block begins a tar: by its checksum, as there are tars without a magic."""
    try:
        return len(block) == BLOCK and any(block[:100]) and _is_whole(block)
    except Damage:
        return False


def members(tar: Region) -> Iterator[Member]:
    """Every member in the archive's order. Raises: Damage."""
    at = 0
    pending = _Pending({})
    for_all: Mapping[bytes, bytes] = {}
    for _ in range(MOST_MEMBERS):
        block = _block(tar, at)
        if block is None:
            if pending:
                raise Damage("it ends behind an extended header")
            return
        kind = chr(block[156])
        stored = _number(block[124:136], "size")
        if kind in (*_LONG, *_LOCAL, _GLOBAL):
            body, at = _extended(tar, at, stored)
            for_all = _remember(kind, body, pending, for_all)
            continue
        member, at = _member(tar, at, block, pending, for_all)
        pending = _Pending({})
        if member is not None:
            yield member
    raise Damage(f"it has more than {MOST_MEMBERS} members, the limit")


def _block(tar: Region, at: int) -> bytes | None:
    """The header at a place, whole; None at the end: two blocks of zeros, or of the file."""
    if at == tar.size and at:
        return None
    block = tar.read(at, BLOCK)
    if not any(block):
        after = tar.read(at + BLOCK, min(BLOCK, max(0, tar.size - at - BLOCK)))
        if any(after):
            raise Damage(f"a single block of zeros stands at byte {at}: readers differ about what follows")  # fmt: skip
        return None
    if not _is_whole(block):
        raise Damage(f"the header at byte {at} has a wrong checksum")
    return block


def _is_whole(block: bytes) -> bool:
    told = _number(block[148:156], "checksum")
    rest = block[:148] + b" " * 8 + block[156:]
    return told in (sum(rest), sum(rest) - 256 * sum(byte > 127 for byte in rest))


def _extended(tar: Region, at: int, size: int) -> tuple[bytes, int]:
    if size > LARGEST_HEADER:
        raise Damage(f"the extended header at byte {at} has {size} bytes, the limit is {LARGEST_HEADER}")  # fmt: skip
    return tar.read(at + BLOCK, size), at + BLOCK + _padded(size)


def _remember(
    kind: str, body: bytes, pending: _Pending, for_all: Mapping[bytes, bytes]
) -> Mapping[bytes, bytes]:
    """Take an extended header in; returns what now holds for all members to come."""
    if kind in _LONG:
        if kind in pending.names:
            raise Damage("a member has two long names")
        pending.names[kind] = body.partition(b"\0")[0]
        return for_all
    found = records(body)
    if kind == _GLOBAL:
        if any(key in _NOT_FOR_ALL or key.startswith(b"GNU.sparse.") for key, _ in found.rows):
            raise Damage("a global extended header gives all members one name or size")
        return {**for_all, **found.last}
    if pending.records is not None:
        raise Damage("a member has two extended headers")
    pending.records = found
    return for_all


def _member(
    tar: Region, at: int, block: bytes, pending: _Pending, for_all: Mapping[bytes, bytes]
) -> tuple[Member | None, int]:
    """The member of a header, and where the next one begins; None for a volume's label."""
    pax = pending.records or Records(())
    told = {**for_all, **pax.last}
    letter = chr(block[156])
    raw = _raw_name(block, pending, pax)
    if letter == _LABEL:
        return None, at + BLOCK
    kind = _KINDS.get(letter)
    if kind is None:
        raise Damage(f"it has a member of the unknown type {letter!r}: {spelled(raw)!r}")
    if kind is Kind.FILE and raw.endswith(b"/"):
        kind = Kind.DIRECTORY
    stored = _pax_number(told, b"size", _number(block[124:136], "size"))
    stored = 0 if kind is Kind.HARDLINK else stored  # as GNU tar: none follows, whatever it says
    if stored and kind is not Kind.FILE and letter != "D":
        raise Damage(f"it has a {kind} with content: {spelled(raw)!r}")
    data = at + BLOCK
    size, extents = 0, tuple[Extent, ...]()
    if kind is Kind.FILE:
        size, data, extents = sparse.extents(tar, block, letter, pax, data, stored)
    end = data + _padded(stored)
    if data + stored > tar.size:
        raise Damage(f"it is truncated within {spelled(raw)!r}")
    return Member(
        name=_clean(raw),
        kind=kind,
        mode=_number(block[100:108], "mode") & 0o7777,
        uid=_pax_number(told, b"uid", _number(block[108:116], "uid")),
        gid=_pax_number(told, b"gid", _number(block[116:124], "gid")),
        size=size,
        target=_target(block, kind, pending, told, raw),
        capability=capability(told) if kind is Kind.FILE else b"",
        extents=extents,
    ), min(end, tar.size)


def _raw_name(block: bytes, pending: _Pending, pax: Records) -> bytes:
    """The name, from wherever its format keeps it."""
    long, path = pending.names.get("L"), pax.last.get(b"path")
    sparse_name = pax.last.get(b"GNU.sparse.name")
    if long is not None and (path is not None or sparse_name is not None):
        raise Damage(f"a member has two names: {spelled(long)!r} and {spelled(path or b'')!r}")
    name = long if long is not None else sparse_name if sparse_name is not None else path
    if name is None:
        name = block[:100].partition(b"\0")[0]
        if block[257:263] == b"ustar\0" and block[345]:
            name = block[345:500].partition(b"\0")[0] + b"/" + name
    if not name or b"\0" in name:
        raise Damage(f"it has a member without a name that can be read: {spelled(name)!r}")
    if len(name) > LONGEST_NAME:
        raise Damage(f"it has a name of {len(name)} bytes, the limit is {LONGEST_NAME}")
    return name


def _target(
    block: bytes, kind: Kind, pending: _Pending, told: Mapping[bytes, bytes], raw: bytes
) -> str:
    if kind is Kind.OTHER:
        return _device(block)
    if kind not in (Kind.LINK, Kind.HARDLINK):
        return ""
    long, path = pending.names.get("K"), told.get(b"linkpath")
    if long is not None and path is not None:
        raise Damage(f"a link has two targets: {spelled(raw)!r}")
    target = next((one for one in (long, path) if one is not None), None)
    target = block[157:257].partition(b"\0")[0] if target is None else target
    if not target or b"\0" in target or len(target) > LONGEST_TEXT:
        raise Damage(f"it has a link whose text cannot be read: {spelled(raw)!r}")
    return _clean(target) if kind is Kind.HARDLINK else _text(target)


def _device(block: bytes) -> str:
    """A device node's type and numbers, as ls(1) has them: `c 1:3`."""
    letter = {"3": "c", "4": "b"}.get(chr(block[156]))
    if letter is None:
        return ""
    return f"{letter} {_number(block[329:337], 'device')}:{_number(block[337:345], 'device')}"


def _clean(raw: bytes) -> str:
    """A name without `/` at its ends, `.` and doubled slashes. Raises: Damage for one with `..`."""
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise Damage(f"a name leads out of the root: {spelled(raw)!r}")
    if any(len(part) > 255 for part in parts):
        raise Damage(f"a name is longer than 255 bytes, which no file system takes: {spelled(raw)!r}")  # fmt: skip
    return _text(b"/".join(parts))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _number(field: bytes, what: str) -> int:
    """An octal field, or GNU's base 256 for what does not fit."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.lstrip(b" ").partition(b"\0")[0].partition(b" ")[0]
    if digits.translate(None, b"01234567"):
        raise Damage(f"a header has a {what} that is no number: {field!r}")
    return int(digits, 8) if digits else 0


def _pax_number(told: Mapping[bytes, bytes], key: bytes, otherwise: int) -> int:
    value = told.get(key, b"")
    if not value:
        return otherwise
    if not value.isdigit() or len(value) > 19:
        raise Damage(f"an extended header has a {key.decode()} that is no number: {value[:40]!r}")
    return int(value)
