"""Configuration files that say what a host has: the loader's (ld.so.conf, ld.so.preload,
ld.so.cache), sysusers.d and tmpfiles.d.

Source: ldconfig(8), ld.so(8); glibc elf/ldconfig.c (parse_conf), elf/rtld.c (do_preload),
sysdeps/generic/dl-cache.h (struct cache_file_new), elf/dl-cache.c (_dl_cache_libcmp).
"""

import re
import shlex
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from minbuild.errors import ArchiveError, MalformedFile
from minbuild.facts.model import LoaderConfigLines, Malformed
from minbuild.formats.elf_file import decode_printable, read_c_string
from minbuild.paths import escape_name

MAGIC = b"glibc-ld.so.cache1.1"
_OLD_MAGIC = b"ld.so-1.7.0\0"
_HEADER = struct.Struct("<20sIIB3xI12x")
_ROW = struct.Struct("<iIIIQ")
_OLD_ROW = 12
_DIGITS = re.compile("[0-9]+")
LITTLE = 2
"""Of the header's flags: the byte order."""


def parse_ld_conf(data: bytes) -> LoaderConfigLines:
    """Read an ld.so.conf: directories, and `include GLOB`, in their order."""
    lines = (
        line.partition("#")[0].strip() for line in data.decode("utf-8", "replace").splitlines()
    )
    entries = []
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "include":
            entries += [f"include {glob}" for glob in rest.split()]
        elif word not in ("", "hwcap"):
            entries.append(line.partition("=")[0].rstrip().rstrip("/") or "/")
    return LoaderConfigLines(tuple(entries))


def parse_musl_path(data: bytes) -> LoaderConfigLines:
    """Read the file that tells musl's loader where to look; spaces count.

    Source: musl 1.2.5, ldso/dynlink.c, path_open.
    """
    text = escape_name(data.partition(b"\0")[0])
    return LoaderConfigLines(tuple(part for part in re.split("[:\n]", text) if part))


def parse_ld_preload(data: bytes) -> LoaderConfigLines:
    """Read an ld.so.preload: names of libraries, between blanks or colons."""
    lines = data.decode("utf-8", "replace").splitlines()
    return LoaderConfigLines(tuple(
        name for line in lines for name in re.split(r"[\s:]+", line.partition("#")[0]) if name
    ))  # fmt: skip


def parse_ld_cache(data: bytes) -> LoaderConfigLines | Malformed:
    """Read an ld.so.cache: `FLAGS NAME PATH`, in its order, without variants for newer processors."""
    try:
        return LoaderConfigLines(tuple(_parse_rows(data)))
    except MalformedFile as damage:
        return Malformed(damage.reason)


def build_ld_cache(libraries: Iterable[tuple[str, str]], flags: int) -> bytes:
    """Make an ld.so.cache of libraries, name and path; of two with one name the first is found."""
    path_by_name: dict[str, str] = {}
    for name, path in libraries:
        path_by_name.setdefault(name, path)
    rows = sorted(path_by_name.items(), key=lambda row: cache_sort_key(row[0]), reverse=True)
    start = _HEADER.size + _ROW.size * len(rows)
    strings = b""
    table = b""
    for name, path in rows:
        offsets = []
        for string in (name, path):
            offsets.append(start + len(strings))
            strings += string.encode() + b"\0"
        table += _ROW.pack(flags, *offsets, 0, 0)
    return _HEADER.pack(MAGIC, len(rows), len(strings), LITTLE, 0) + table + strings


def canonicalise_name(name: str) -> str:
    """A name as the loader compares it in the cache: there lib01.so is lib1.so."""
    return _DIGITS.sub(lambda digits: digits[0].lstrip("0") or "0", name)


def cache_sort_key(name: str) -> list[tuple[int, int]]:
    """The order of names in the cache, which the loader searches by halves: libx.so.9 before .10."""
    return [
        (1, int(digits)) if digits else (0, ord(other))
        for digits, other in re.findall(r"([0-9]+)|(.)", name, re.DOTALL)
    ]


def _parse_rows(data: bytes) -> Iterable[str]:
    start = _find_start(data)
    if len(data) < start + _HEADER.size or not data.startswith(MAGIC, start):
        raise MalformedFile("it is no cache that the loader of glibc reads")
    _, count, _, flags, _ = _HEADER.unpack_from(data, start)
    if flags & 3 not in (0, LITTLE) or start + _HEADER.size + count * _ROW.size > len(data):
        raise MalformedFile("its table is longer than the file")
    for number in range(count):
        row = _ROW.unpack_from(data, start + _HEADER.size + number * _ROW.size)
        if not row[4]:
            name, path = (
                decode_printable(read_c_string(data, start + place)) for place in row[1:3]
            )
            yield f"{row[0]} {name} {path}"


def _find_start(data: bytes) -> int:
    """Where the cache begins: an older one may stand before it, for older loaders."""
    if not data.startswith(_OLD_MAGIC) or len(data) < 16:
        return 0
    count: int = struct.unpack_from("<I", data, 12)[0]
    return 16 + count * _OLD_ROW + -(16 + count * _OLD_ROW) % 8


NOLOGIN = "/usr/sbin/nologin"
_PATHS = frozenset("dDvqQ")
_AT_BOOT = frozenset("fFwecCpbcaAtTzZhHxXrRmLl")
"""Types of lines that change what is there at boot, or clean up: no part of an image."""


MAX_DIGITS = 10
"""Of the longest number of a user or group: 4294967295."""


@dataclass(frozen=True, slots=True)
class DeclaredUser:
    """A line `u` of sysusers.d."""

    name: str
    line: int
    uid: int | None = None
    group: str = ""
    """Name or number of the first group; "" for one called like the user."""
    gecos: str = ""
    home: str = "/"
    shell: str = NOLOGIN


@dataclass(frozen=True, slots=True)
class DeclaredGroup:
    """A line `g`, or a member of one (`m`)."""

    name: str
    line: int
    gid: int | None = None
    member: str = ""


@dataclass(frozen=True, slots=True)
class DeclaredDirectory:
    """A directory of tmpfiles.d."""

    path: str
    line: int
    mode: int = 0o755
    user: str = "root"
    group: str = "root"


def parse_sysusers(
    lines: Sequence[str], where: str = ""
) -> tuple[DeclaredUser | DeclaredGroup, ...]:
    """Read a file of sysusers.d; `where` names it in errors.

    Raises: ArchiveError with the line.
    """
    try:
        return _parse_accounts(lines)
    except MalformedFile as damage:
        raise _damage_error("sysusers.d", damage, where) from damage


def parse_tmpfiles(lines: Sequence[str], where: str = "") -> tuple[DeclaredDirectory, ...]:
    """Read the directories of a file of tmpfiles.d; paths with specifiers are known only at boot.

    Raises: ArchiveError with the line.
    """
    try:
        return _parse_directories(lines)
    except MalformedFile as damage:
        raise _damage_error("tmpfiles.d", damage, where) from damage


def _damage_error(kind: str, damage: MalformedFile, where: str) -> ArchiveError:
    fix = "leave the package's programs out, or report this with the package"
    return ArchiveError(f"a file of {kind} is damaged: {damage.reason}", where=where, fix=fix)


def _parse_accounts(lines: Sequence[str]) -> tuple[DeclaredUser | DeclaredGroup, ...]:
    accounts: list[DeclaredUser | DeclaredGroup] = []
    for number, fields in _split_lines(lines):
        kind, name, *rest = (*fields, *[""] * 6)[: max(len(fields), 6)]
        match kind.rstrip("!"):
            case "u":
                accounts.append(_build_user(name, number, rest))
            case "g":
                accounts.append(DeclaredGroup(name, number, _parse_number(rest[0])))
            case "m":
                accounts.append(DeclaredGroup(rest[0], number, member=name))
            case "r":
                continue
            case _:
                raise MalformedFile(f"line {number} has the unknown type {kind!r}")
    return tuple(accounts)


def _parse_directories(lines: Sequence[str]) -> tuple[DeclaredDirectory, ...]:
    directories = []
    for number, fields in _split_lines(lines):
        kind, path, mode, user, group, *_ = (*fields, "", "", "", "", "")
        letter = kind[:1]
        if letter not in _PATHS | _AT_BOOT:
            raise MalformedFile(f"line {number} has the unknown type {kind!r}")
        if letter in _PATHS and "%" not in path and path.startswith("/"):
            directories.append(
                DeclaredDirectory(
                    path,
                    number,
                    _parse_mode(mode, number),
                    _or_default(user, "root"),
                    _or_default(group, "root"),
                )
            )
    return tuple(directories)


def _split_lines(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield number, shlex.split(line)
            except ValueError as error:
                raise MalformedFile(f"line {number} has a quote without its end") from error


def _build_user(name: str, line: int, rest: Sequence[str]) -> DeclaredUser:
    uid, _, group = rest[0].partition(":")
    gecos, home, shell = (_or_default(text, "") for text in rest[1:4])
    return DeclaredUser(name, line, _parse_number(uid), group, gecos, home or "/", shell or NOLOGIN)


def _parse_number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else None


def _or_default(text: str, default: str) -> str:
    return default if text in ("", "-") else text


def _parse_mode(text: str, line: int) -> int:
    digits = text.lstrip("~:")
    if digits in ("", "-"):
        return 0o755
    try:
        return int(digits, 8)
    except ValueError as error:
        raise MalformedFile(f"line {line} has the mode {text!r}") from error
