"""Formats of the loader's configuration: ld.so.conf, ld.so.preload and ld.so.cache.

Source: ldconfig(8), ld.so(8); glibc elf/ldconfig.c (parse_conf), elf/rtld.c (do_preload),
sysdeps/generic/dl-cache.h (struct cache_file_new), elf/dl-cache.c (_dl_cache_libcmp).
"""

import re
import struct
from collections.abc import Iterable

from minbuild.errors import MalformedFile
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
