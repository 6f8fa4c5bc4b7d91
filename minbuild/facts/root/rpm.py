"""The packages of an rpm root: SQLite databases are read here, older kinds by rpm itself.

Source: rpm's lib/header.c, "Header format"; docs/manual/tags.md.
"""

import contextlib
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.errors import MinbuildError, ToolError
from minbuild.facts.root.types import Found, Program
from minbuild.paths import rootpath

if TYPE_CHECKING:
    from minbuild.facts.root.owners import Owner

PLACES = ("usr/lib/sysimage/rpm", "var/lib/rpm")
SQLITE = "rpmdb.sqlite"
BERKELEY = "Packages"
OTHERS = {"Packages.db": "ndb", BERKELEY: "Berkeley DB"}
"""Of openSUSE; of all before rpm 4.16: CentOS 7, RHEL 8, SLES 12."""
KIND = "rpm"
KEY = "gpg-pubkey"
"""No package: a key that signs them."""
_INDICES = 64 << 20
"""Bytes of the indices that rpm makes beside a database."""
_STEPS = 1_000
"""Times 100,000 instructions of SQLite's machine that reading a database may take."""
_MAGIC = (0x061561, 0x053162)
"""Of a Berkeley DB hash and B-tree."""
NAME, VERSION, RELEASE, EPOCH, ARCH = 1000, 1001, 1002, 1003, 1022
PROVIDES, DIRECTORIES, BASES, NAMES = 1047, 1116, 1117, 1118
_INT32, _STRING, _STRINGS, _TEXTS = 4, 6, 8, 9
FORMAT = r"%{NAME}\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\t%{ARCH}\n[\t%{FILENAMES}\n]"

Value = str | tuple[str, ...] | tuple[int, ...]


def rpm(
    found: Mapping[str, Found], read: Callable[[str], bytes], tool: Program | None
) -> "tuple[Owner, ...]":
    """The installed packages; () for a root without an rpm database.

    Raises: ToolError when the database is damaged, or only rpm reads it and there is no rpm.
    """
    for place in PLACES:
        if f"{place}/{SQLITE}" in found:
            return tuple(_sqlite(read(f"{place}/{SQLITE}"), f"{place}/{SQLITE}"))
        for name in OTHERS:
            if f"{place}/{name}" in found:
                return tuple(_asked(read(f"{place}/{name}"), f"{place}/{name}", tool))
    return ()


def _sqlite(data: bytes, where: str) -> "Iterator[Owner]":
    with tempfile.NamedTemporaryFile(suffix=".sqlite") as copy:
        copy.write(data)
        copy.flush()
        try:
            # immutable: a copy has no journal of its own
            with contextlib.closing(
                sqlite3.connect(f"file:{copy.name}?immutable=1", uri=True)
            ) as database:
                blobs = _blobs(database, len(data))
            yield from (owner for owner in map(_owner, blobs) if owner is not None)
        except (sqlite3.Error, struct.error, IndexError, ValueError) as error:
            raise _unread(f"is damaged: {error}", where) from error


def _blobs(database: sqlite3.Connection, size: int) -> list[bytes]:
    """The headers of all packages, from a table that is one; no more bytes than the file has.

    Raises: sqlite3.Error, ValueError. Source: sqlite.org, "Defense Against The Dark Arts".
    """
    left = [_STEPS]

    def enough() -> bool:
        left[0] -= 1
        return left[0] < 0

    database.set_progress_handler(enough, 100_000)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(size, 1 << 20))
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        database.execute(f"PRAGMA {pragma}")
    kind = database.execute("SELECT type FROM sqlite_master WHERE name = 'Packages'").fetchone()
    columns = database.execute("PRAGMA table_xinfo(Packages)").fetchall()
    if kind != ("table",) or any(column[6] for column in columns):
        raise ValueError("Packages is no table")
    blobs = []
    for (blob,) in database.execute("SELECT blob FROM Packages"):
        size -= len(blob)
        if size < 0 or not isinstance(blob, bytes):
            raise ValueError("it holds more than its file")
        blobs.append(blob)
    return blobs


_WITHOUT = (
    "repair it (rpmdb --rebuilddb), or build without owners: archive: {root: …, owners: false}"
)


def _owner(blob: bytes) -> "Owner | None":
    from minbuild.facts.root.owners import Owner

    tags = header(blob)
    name = str(tags.get(NAME, ""))
    if not name or name == KEY:
        return None
    directories, names = _texts(tags, NAMES), _texts(tags, BASES)
    places = zip(_numbers(tags, DIRECTORIES), names, strict=False)
    paths = [directories[index] + base for index, base in places]
    epoch = "".join(f"{number}:" for number in _numbers(tags, EPOCH)[:1])
    return Owner(
        name=name,
        version=f"{epoch}{tags.get(VERSION, '')}-{tags.get(RELEASE, '')}",
        arch=str(tags.get(ARCH, "")),
        paths=tuple(map(rootpath, paths)),
        provides=_texts(tags, PROVIDES),
        kind=KIND,
    )


def _texts(tags: Mapping[int, Value], tag: int) -> tuple[str, ...]:
    value = tags.get(tag, ())
    return tuple(each for each in value if isinstance(each, str)) if value else ()


def _numbers(tags: Mapping[int, Value], tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return tuple(each for each in value if isinstance(each, int)) if value else ()


def header(blob: bytes) -> dict[int, Value]:
    """The tags of one package that are of use here.

    Raises: struct.error, IndexError, ValueError when it is damaged.
    """
    count, length = struct.unpack_from(">II", blob)
    start = 8 + 16 * count
    data = blob[start : start + length]
    if len(data) < length or start > len(blob):
        raise ValueError("a header is cut short")
    found: dict[int, Value] = {}
    for number in range(count):
        tag, kind, offset, items = struct.unpack_from(">IIII", blob, 8 + 16 * number)
        if kind == _INT32:
            found[tag] = struct.unpack_from(f">{items}I", data, offset)
        elif kind == _STRING:
            found[tag] = data[offset : data.index(b"\0", offset)].decode("utf-8")
        elif kind in (_STRINGS, _TEXTS):
            texts = data[offset:].split(b"\0", items)[:items]
            found[tag] = tuple(text.decode("utf-8") for text in texts)
    return found


def _asked(data: bytes, raw: str, tool: Program | None) -> "Iterator[Owner]":
    """Let rpm read a database that only it knows."""
    from minbuild.facts.root.owners import Owner

    name = raw.rpartition("/")[2]
    if tool is None:
        raise _unread(f"is {OTHERS[name]}, which only rpm reads, and there is no rpm here", raw)
    if name == BERKELEY and not _is_whole(data):
        raise _unread("is damaged: it is shorter than it says", raw)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / name).write_bytes(data)
        try:
            said = tool(
                ["--dbpath", place, "-qa", "--qf", FORMAT], writes=place, file=_INDICES + 4 * len(data),
                what="reading the root's rpm database",
            )  # fmt: skip
        except MinbuildError as error:
            error.fix += f"; or build without owners: {_WITHOUT.partition(': ')[2]}"
            raise
        text = said.decode("utf-8", "replace")
    packages = list(_packages(text))
    if not packages:  # rpm says that of a damaged one, too, and calls it success
        raise _unread("is damaged: rpm finds no package in it", raw)
    for package in packages:
        head, *paths = package.split("\n\t")
        title, version, arch = head.split("\t")[:3]
        if title != KEY:
            files = tuple(rootpath(path) for path in paths if path)
            yield Owner(title, version, arch, files, kind=KIND)


def _is_whole(data: bytes) -> bool:
    """Tell that no page of a Berkeley DB is cut off. Source: Berkeley DB, dbinc/db_page.h, DBMETA."""
    if len(data) < 512:
        return False
    order = "<" if struct.unpack_from("<I", data, 12)[0] in _MAGIC else ">"
    page, last = map(int, struct.unpack_from(f"{order}20xI8xI", data))
    return len(data) >= page * (last + 1)


def _unread(why: str, where: str) -> ToolError:
    return ToolError(f"the root's rpm database {why}", where=where, fix=_WITHOUT)


def _packages(text: str) -> Iterator[str]:
    """Split rpm's answer: a package's line, then its paths, each after a tab."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("\t") and lines:
            yield "\n".join(lines)
            lines = []
        lines.append(line)
    if lines:
        yield "\n".join(lines)
