"""Tars of every form, written byte by byte, and made up at random with a fixed seed."""

import random
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

BLOCK = 512
FORMS = ("v7", "ustar", "gnu", "pax")
SPARSE = ("old", "0.0", "0.1", "1.0")
Extents = Sequence[tuple[int, bytes]]


@dataclass(frozen=True)
class Row:
    """One member."""

    name: bytes
    kind: str = "0"
    body: bytes = b""
    target: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    form: str = "ustar"
    sparse: str = ""
    """Of SPARSE, with `extents` for `body` and `size` for its length."""
    extents: Extents = ()
    size: int = 0
    pax: Sequence[tuple[bytes, bytes]] = ()
    device: tuple[int, int] = (0, 0)


def tar(*rows: Row, end: bytes = bytes(2 * BLOCK)) -> bytes:
    """An archive of these members."""
    return b"".join(member(row) for row in rows) + end


def member(row: Row) -> bytes:
    """One member, with the headers that its form needs before it."""
    if row.sparse:
        return _sparse(row)
    out, pax, name, target = b"", list(row.pax), row.name, row.target
    long = len(name) > 100, len(target) > 100
    if row.form == "gnu":
        out += _long("K", target) if long[1] else b""
        out += _long("L", name) if long[0] else b""
    elif any(long):
        pax += [(b"path", name)] if long[0] else []
        pax += [(b"linkpath", target)] if long[1] else []
    out += pax_header("x", pax) if pax else b""
    out += header(row, name[:100], target[:100], len(row.body))
    return out + pad(row.body)


def header(row: Row, name: bytes, target: bytes, size: int, rest: bytes = b"", kind: str = "") -> bytes:  # fmt: skip
    """A header's block; `rest` lies behind the magic's fields."""
    magic = {"v7": bytes(8), "gnu": b"ustar  \0"}.get(row.form, b"ustar\x0000")
    out = bytearray(BLOCK)
    out[:100] = name.ljust(100, b"\0")
    out[100:108], out[108:116], out[116:124] = octal(row.mode), octal(row.uid), octal(row.gid)
    out[124:136], out[136:148] = octal(size, 12), octal(0, 12)
    out[156:157] = (kind or row.kind).encode()
    out[157:257] = target.ljust(100, b"\0")
    out[257:265] = magic
    if row.kind in "34":
        out[329:337], out[337:345] = octal(row.device[0]), octal(row.device[1])
    out[345 : 345 + len(rest)] = rest
    return with_checksum(out)


def with_checksum(block: bytes | bytearray) -> bytes:
    """A header with its checksum."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return bytes(block[:148]) + b"%06o\0 " % total + bytes(block[156:])


def pax_header(kind: str, records: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A pax header of these records."""
    body = b"".join(pax_record(*one) for one in records)
    return header(Row(b"pax", kind), b"pax", b"", len(body)) + pad(body)


def pax_record(key: bytes, value: bytes) -> bytes:
    """One record, which begins with its own length."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def octal(number: int, width: int = 8) -> bytes:
    return b"%0*o\0" % (width - 1, number)


def pad(body: bytes) -> bytes:
    return body + bytes(-len(body) % BLOCK)


def content(row: Row) -> bytes:
    """The bytes of a file, its holes filled."""
    out = bytearray(row.size if row.sparse else len(row.body))
    for at, data in row.extents if row.sparse else ((0, row.body),):
        out[at : at + len(data)] = data
    return bytes(out)


def _long(kind: str, name: bytes) -> bytes:
    body = name + b"\0"
    return header(Row(b"", kind, form="gnu"), b"././@LongLink", b"", len(body)) + pad(body)


def _sparse(row: Row) -> bytes:
    body = b"".join(data for _, data in row.extents)
    pairs = [(at, len(data)) for at, data in row.extents]
    if not pairs or sum(pairs[-1]) < row.size:
        pairs.append((row.size, 0))
    size = b"%d" % row.size
    if row.sparse == "old":
        first, rest = pairs[:4], pairs[4:]
        tail = bytearray(BLOCK - 345)
        for number, (at, length) in enumerate(first):
            tail[41 + 24 * number : 65 + 24 * number] = octal(at, 12) + octal(length, 12)
        tail[137], tail[138:150] = bool(rest), octal(row.size, 12)
        out = header(Row(row.name, "S", mode=row.mode, uid=row.uid, gid=row.gid, form="gnu"),
                     row.name, b"", len(body), bytes(tail))  # fmt: skip
        while rest:
            block = b"".join(octal(at, 12) + octal(length, 12) for at, length in rest[:21])
            rest = rest[21:]
            out += block.ljust(504, b"\0") + bytes([bool(rest)]) + bytes(7)
        return out + pad(body)
    start = [(b"GNU.sparse.size", size), (b"GNU.sparse.numblocks", b"%d" % len(pairs))]
    if row.sparse == "0.0":
        for at, length in pairs:
            start += [(b"GNU.sparse.offset", b"%d" % at), (b"GNU.sparse.numbytes", b"%d" % length)]
    elif row.sparse == "0.1":
        start += [(b"GNU.sparse.name", row.name)]
        start += [(b"GNU.sparse.map", b",".join(b"%d,%d" % pair for pair in pairs))]
    else:
        start = [
            (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", row.name), (b"GNU.sparse.realsize", size),
        ]  # fmt: skip
        numbers = b"".join(b"%d\n" % number for number in (len(pairs), *sum(pairs, ())))
        body = pad(numbers) + body
    name = row.name if row.sparse == "0.0" else b"GNUSparseFile.0/x"
    records = [*row.pax, *start]
    if len(name) > 100:
        records.append((b"path", name))
    return pax_header("x", records) + header(row, name[:100], b"", len(body)) + pad(body)


NAMES = (b"a", b"b", b"d", b"d/e", b"d/e/f", b"d/g", b"l", b"l/h", b"m", b"m/i", b"caf\xe9", b"n\nl",
         b"d/\xe2\x80\xa8", b"d/" + b"w" * 255, b"/".join([b"deep" * 10] * 8), b"x\\xe9", b"d/a",
         b"s/t/u", b"s")  # fmt: skip
TARGETS = (
    b"a",
    b"d",
    b"d/e",
    b"../a",
    b"/d",
    b"e",
    b"nowhere",
    b"nich\xe9ts",
    b"d/../b",
    b".",
    b"l",
    b"m",
    b"w" * 200,
)


def random_members(source: random.Random, *, most: int = 14, layer: bool = False) -> list[Row]:
    """Members at random, many of them over, under and through each other.

    `layer`: also whiteouts, and none of the old sparse form.
    """
    rows: list[Row] = []
    for _ in range(source.randrange(2, most)):
        rows += _generate_members(source, [row.name for row in rows], layer=layer)
    return rows


def _generate_members(
    source: random.Random, before: Sequence[bytes], *, layer: bool
) -> Iterator[Row]:
    name = source.choice(NAMES)
    if source.random() < 0.1:
        name = source.choice((b"./", b"/", b".//")) + name
    form = source.choice(FORMS)
    if form in ("v7", "ustar") and len(name) > 100:
        form = "pax"
    mode = source.choice((0o644, 0o755, 0o600, 0o4755, 0o2755, 0o777, 0o1777))
    kind = source.choice("0000011122255555S" + ("w" * 3 if layer else ""))
    if kind == "w":
        directory, _, last = name.rstrip(b"/").rpartition(b"/")
        last = b".wh..wh..opq" if source.random() < 0.3 else b".wh." + last[:200]
        yield Row((directory + b"/" if directory else b"") + last, mode=0o600, form="pax")
    elif kind == "S":
        extents = [
            (at * 4096, source.randbytes(512 * source.randrange(1, 9)))
            for at in sorted(source.sample(range(40), source.randrange(0, 30)))
        ]
        size = 41 * 4096
        how = source.choice(SPARSE[layer:])  # umoci knows no old one
        if how == "old" and len(name) > 100:
            how = "1.0"
        yield Row(name, body=b"", mode=mode, form="pax", sparse=how, extents=extents, size=size)
    elif kind == "0":
        yield Row(name, body=source.randbytes(source.randrange(1500)), mode=mode, form=form,
                  pax=[(b"mtime", b"1.5")] if form == "pax" else ())  # fmt: skip
    elif kind == "5":
        slash = b"/" if source.random() < 0.7 or form == "v7" else b""
        yield Row(name + slash, "\0" if form == "v7" else "5", mode=mode | 0o700, form=form)
    elif kind == "1":
        target = source.choice(before if before and source.random() < 0.9 else NAMES).rstrip(b"/")
        if len(target) > 100 and form in ("v7", "ustar"):
            form = "gnu"
        yield Row(name, "1", target=target, mode=mode, form=form)
    else:
        target = source.choice(TARGETS)
        yield Row(name, "2", target=target, mode=0o777, form="gnu" if len(target) > 100 else form)


def unpack_own_tar(archive: tarfile.TarFile, directory: Path) -> None:
    """Unpack an archive that minbuild wrote; Python 3.11.3 and older have no filters."""
    archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
    archive.extractall(directory)
