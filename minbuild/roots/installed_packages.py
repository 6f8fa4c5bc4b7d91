"""Owners of the files in a root, from its dpkg database or its rpm database; rpm reads the
databases that are not SQLite.

Source: rpm's lib/header.c, "Header format"; docs/manual/tags.md.
"""

import contextlib
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from minbuild.errors import MinbuildError, ToolError
from minbuild.formats.deb import parse_alternatives
from minbuild.formats.root_entry import RootEntry
from minbuild.paths import RootPath, to_root_path
from minbuild.process import RunProgram
from minbuild.roots.model import InstalledPackage

RPM_DIRECTORIES = ("usr/lib/sysimage/rpm", "var/lib/rpm")
SQLITE_FILE = "rpmdb.sqlite"
BERKELEY_FILE = "Packages"
LEGACY_FORMATS = {"Packages.db": "ndb", BERKELEY_FILE: "Berkeley DB"}
"""Of openSUSE; of all before rpm 4.16: CentOS 7, RHEL 8, SLES 12."""
KIND = "rpm"
KEY_PACKAGE = "gpg-pubkey"
"""No package: a key that signs them."""
_MAX_INDEX_SIZE = 64 << 20
"""Bytes of the indices that rpm makes beside a database."""
_MAX_STEPS = 1_000
"""Times 100,000 instructions of SQLite's machine that reading a database may take."""
_BERKELEY_MAGIC = (0x061561, 0x053162)
"""Of a Berkeley DB hash and B-tree."""
NAME, VERSION, RELEASE, EPOCH, ARCH = 1000, 1001, 1002, 1003, 1022
PROVIDES, DIRECTORIES, BASES, NAMES = 1047, 1116, 1117, 1118
_INT32, _STRING, _STRINGS, _TEXTS = 4, 6, 8, 9
_USED_TAGS = frozenset((NAME, VERSION, RELEASE, EPOCH, ARCH, PROVIDES, DIRECTORIES, BASES, NAMES))
_MAX_PATH_BYTES = 256 << 20
"""Of the paths of all packages, with 64 bytes for each; a million files of a large system are 150 MB."""
_MAX_STRINGS = 500_000
"""Strings of one tag; the largest packages have a hundred thousand files."""
_PATH_MAX = 4096
"""Source: linux/limits.h."""
QUERY_FORMAT = r"%{NAME}\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\t%{ARCH}\n[\t%{FILENAMES}\n]"

TagValue = str | tuple[str, ...] | tuple[int, ...]


def read_rpm_database(
    entries: Mapping[str, RootEntry], read: Callable[[str], bytes], tool: RunProgram | None
) -> "tuple[InstalledPackage, ...]":
    """The installed packages; () for a root without an rpm database.

    Raises: ToolError when the database is damaged, or only rpm reads it and there is no rpm.
    """
    for directory in RPM_DIRECTORIES:
        if f"{directory}/{SQLITE_FILE}" in entries:
            return tuple(
                _read_sqlite(read(f"{directory}/{SQLITE_FILE}"), f"{directory}/{SQLITE_FILE}")
            )
        for name in LEGACY_FORMATS:
            if f"{directory}/{name}" in entries:
                return tuple(_query_rpm(read(f"{directory}/{name}"), f"{directory}/{name}", tool))
    return ()


def _read_sqlite(data: bytes, where: str) -> Iterator[InstalledPackage]:
    with tempfile.NamedTemporaryFile(suffix=".sqlite") as copy:
        copy.write(data)
        copy.flush()
        try:
            # immutable: a copy has no journal of its own
            with contextlib.closing(
                sqlite3.connect(f"file:{copy.name}?immutable=1", uri=True)
            ) as database:
                blobs = _read_headers(database, len(data))
            yield from _parse_packages(blobs)
        except (sqlite3.Error, struct.error, IndexError, ValueError) as error:
            raise _unreadable_error(f"is damaged: {error}", where) from error


def _read_headers(database: sqlite3.Connection, size: int) -> list[bytes]:
    """The headers of all packages, from a table that is one; no more bytes than the file has.

    Raises: sqlite3.Error, ValueError. Source: sqlite.org, "Defense Against The Dark Arts".
    """
    remaining = [_MAX_STEPS]

    def is_exhausted() -> bool:
        remaining[0] -= 1
        return remaining[0] < 0

    database.set_progress_handler(is_exhausted, 100_000)
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


_FIX = "repair it (rpmdb --rebuilddb), or build without owners: archive: {root: …, owners: false}"


def _parse_packages(blobs: Iterable[bytes]) -> Iterator[InstalledPackage]:
    """The packages of headers. Raises: struct.error, IndexError, ValueError when one is damaged."""
    remaining = _MAX_PATH_BYTES
    for package in map(parse_rpm_package, blobs):
        if package is None:
            continue
        remaining -= sum(64 + len(path) for path in package.paths)
        if remaining < 0:
            raise ValueError(f"its packages name more than {_MAX_PATH_BYTES >> 20} MiB of paths")
        yield package


def parse_rpm_package(blob: bytes) -> InstalledPackage | None:
    """The package of a header, None for a key.

    Raises: struct.error, IndexError, ValueError when it is damaged.
    """
    tags = parse_rpm_header(blob)
    name = str(tags.get(NAME, ""))
    if not name or name == KEY_PACKAGE:
        return None
    directories, names = _get_strings(tags, NAMES), _get_strings(tags, BASES)
    indexed_names = zip(_get_numbers(tags, DIRECTORIES), names, strict=False)
    paths = [_join_path(directories[index], base) for index, base in indexed_names]
    epoch = "".join(f"{number}:" for number in _get_numbers(tags, EPOCH)[:1])
    return InstalledPackage(
        name=name,
        version=f"{epoch}{tags.get(VERSION, '')}-{tags.get(RELEASE, '')}",
        arch=str(tags.get(ARCH, "")),
        paths=tuple(paths),
        provides=_get_strings(tags, PROVIDES),
        kind=KIND,
    )


def _join_path(directory: str, base: str) -> RootPath:
    if len(directory) + len(base) > _PATH_MAX:
        raise ValueError("a path is longer than any path may be")
    return to_root_path(directory + base)


def _get_strings(tags: Mapping[int, TagValue], tag: int) -> tuple[str, ...]:
    value = tags.get(tag, ())
    return tuple(item for item in value if isinstance(item, str)) if value else ()


def _get_numbers(tags: Mapping[int, TagValue], tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return tuple(item for item in value if isinstance(item, int)) if value else ()


def parse_rpm_header(blob: bytes) -> dict[int, TagValue]:
    """The tags of one package that are of use here.

    Raises: struct.error, IndexError, ValueError when it is damaged.
    """
    count, length = struct.unpack_from(">II", blob)
    start = 8 + 16 * count
    data = blob[start : start + length]
    if len(data) < length or start > len(blob):
        raise ValueError("a header is cut short")
    tags: dict[int, TagValue] = {}
    for number in range(count):
        tag, kind, offset, items = struct.unpack_from(">IIII", blob, 8 + 16 * number)
        if tag not in _USED_TAGS:
            continue
        if tag in tags:
            raise ValueError(f"tag {tag} of a header stands twice")
        if items > _MAX_STRINGS:
            raise ValueError(f"tag {tag} of a header has {items} values")
        if kind == _INT32:
            tags[tag] = struct.unpack_from(f">{items}I", data, offset)
        elif kind == _STRING:
            tags[tag] = data[offset : data.index(b"\0", offset)].decode("utf-8")
        elif kind in (_STRINGS, _TEXTS):
            texts = data[offset:].split(b"\0", items)[:items]
            tags[tag] = tuple(text.decode("utf-8") for text in texts)
    return tags


def _query_rpm(
    data: bytes, native_path: str, tool: RunProgram | None
) -> Iterator[InstalledPackage]:
    """Let rpm read a database that only it knows."""

    name = native_path.rpartition("/")[2]
    if tool is None:
        raise _unreadable_error(
            f"is {LEGACY_FORMATS[name]}, which only rpm reads, and there is no rpm here",
            native_path,
        )
    if name == BERKELEY_FILE and not _is_complete(data):
        raise _unreadable_error("is damaged: it is shorter than it says", native_path)
    with tempfile.TemporaryDirectory() as directory:
        database = Path(directory)
        (database / name).write_bytes(data)
        try:
            output = tool(
                ["--dbpath", database, "-qa", "--qf", QUERY_FORMAT], writes=database, file=_MAX_INDEX_SIZE + 4 * len(data),
                purpose="reading the root's rpm database",
            )  # fmt: skip
        except MinbuildError as error:
            error.fix += f"; or build without owners: {_FIX.partition(': ')[2]}"
            raise
        text = output.decode("utf-8", "replace")
    packages = list(_split_packages(text))
    if not packages:  # rpm says that of a damaged one, too, and calls it success
        raise _unreadable_error("is damaged: rpm finds no package in it", native_path)
    for package in packages:
        head, *paths = package.split("\n\t")
        title, version, arch = head.split("\t")[:3]
        if title != KEY_PACKAGE:
            files = tuple(to_root_path(path) for path in paths if path)
            yield InstalledPackage(title, version, arch, files, kind=KIND)


def _is_complete(data: bytes) -> bool:
    """Tell that no page of a Berkeley DB is cut off. Source: Berkeley DB, dbinc/db_page.h, DBMETA."""
    if len(data) < 512:
        return False
    order = "<" if struct.unpack_from("<I", data, 12)[0] in _BERKELEY_MAGIC else ">"
    page, last = map(int, struct.unpack_from(f"{order}20xI8xI", data))
    return len(data) >= page * (last + 1)


def _unreadable_error(reason: str, where: str) -> ToolError:
    return ToolError(f"the root's rpm database {reason}", where=where, fix=_FIX)


def _split_packages(text: str) -> Iterator[str]:
    """Split rpm's answer: a package's line, then its paths, each after a tab."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("\t") and lines:
            yield "\n".join(lines)
            lines = []
        lines.append(line)
    if lines:
        yield "\n".join(lines)


DPKG_STATUS = "var/lib/dpkg/status"
DPKG_STATUS_DIRECTORY = "var/lib/dpkg/status.d/"
DPKG_INFO = "var/lib/dpkg/info/"
DPKG_DIVERSIONS = "var/lib/dpkg/diversions"


ReadFile = Callable[[str], bytes]


def read_package_database(
    entries: Mapping[str, RootEntry], read: ReadFile, rpm: RunProgram | None = None
) -> tuple[InstalledPackage, ...]:
    """The packages that a root says it has, by the first database there is; () without one.

    `found`: by raw path; `rpm`: None where there is none.
    Raises: ToolError when the database is damaged, or only rpm reads it and there is none.
    """
    if DPKG_STATUS in entries or any(
        native_path.startswith(DPKG_STATUS_DIRECTORY) for native_path in entries
    ):
        return tuple(_read_dpkg(entries, read))
    return read_rpm_database(entries, read, rpm)


def _read_dpkg(entries: Mapping[str, RootEntry], read: ReadFile) -> Iterator[InstalledPackage]:
    """Source: dpkg(1), FILES; deb-control(5)."""
    diversions = _parse_diversions(_read_text(entries, read, DPKG_DIVERSIONS))
    for fields, listing in (*_list_installed(entries, read), *_list_distroless(entries, read)):
        name, arch = fields["package"], fields.get("architecture", "")
        source, _, source_version = fields.get("source", "").partition(" ")
        paths = [to_root_path(line) for line in listing if line not in ("", "/.")]
        yield InstalledPackage(
            name=name,
            version=fields.get("version", ""),
            arch=arch,
            paths=tuple(_resolve_diversion(path, name, diversions) for path in paths),
            depends=parse_alternatives(fields.get("pre-depends", ""))
            + parse_alternatives(fields.get("depends", "")),
            provides=tuple(group[0] for group in parse_alternatives(fields.get("provides", ""))),
            source=source,
            source_version=source_version.strip("()"),
        )


def _list_installed(
    entries: Mapping[str, RootEntry], read: ReadFile
) -> Iterator[tuple[dict[str, str], list[str]]]:
    for fields in _parse_paragraphs(_read_text(entries, read, DPKG_STATUS)):
        if not fields.get("status", "").endswith(" installed"):
            continue
        name = fields["package"]
        for label in (name, f"{name}:{fields.get('architecture', '')}"):
            if f"{DPKG_INFO}{label}.list" in entries:
                yield fields, _read_text(entries, read, f"{DPKG_INFO}{label}.list").splitlines()
                break


def _list_distroless(
    entries: Mapping[str, RootEntry], read: ReadFile
) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Images without dpkg keep one paragraph a file, and md5sums for a list."""
    for native_path in sorted(entries):
        if native_path.startswith(DPKG_STATUS_DIRECTORY) and not native_path.endswith(".md5sums"):
            sums = _read_text(entries, read, f"{native_path}.md5sums").splitlines()
            for fields in _parse_paragraphs(_read_text(entries, read, native_path)):
                yield fields, [line.partition("  ")[2] for line in sums]


def _parse_diversions(text: str) -> dict[RootPath, tuple[RootPath, str]]:
    """From → (to, the package that keeps its own file there). Source: dpkg-divert(1)."""
    lines = text.splitlines()
    rows = zip(lines[::3], lines[1::3], lines[2::3], strict=False)
    return {to_root_path(before): (to_root_path(after), package) for before, after, package in rows}


def _resolve_diversion(
    path: RootPath, package: str, diversions: Mapping[RootPath, tuple[RootPath, str]]
) -> RootPath:
    target, diverting_package = diversions.get(path, (path, package))
    return path if package == diverting_package else target


def _parse_paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Fields with lower-case names; of a continued field the first line and its rest, joined."""
    for paragraph in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1] in (" ", "\t"):
                if name:
                    fields[name] += " " + line.strip()
                continue
            name, _, value = line.partition(":")
            name = name.lower()
            fields[name] = value.strip()
        if "package" in fields:
            yield fields


def _read_text(entries: Mapping[str, RootEntry], read: ReadFile, native_path: str) -> str:
    return read(native_path).decode("utf-8", "replace") if native_path in entries else ""
