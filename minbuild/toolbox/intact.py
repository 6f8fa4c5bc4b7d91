"""Whether a tree of tools is still what was laid down: a damaged tool must not make an image."""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import assert_never

from minbuild.facts.types import Entry, Kind
from minbuild.paths import RootPath, under
from minbuild.store import Lost, Store

BYTECODE = RootPath("/usr/lib/minbuild/bytecode")
GCONV = RootPath("/usr/lib/minbuild/gconv")
EMPTY = RootPath("/usr/lib/minbuild/empty")
CONVERSIONS = RootPath(f"{GCONV}/gconv-modules")
ALIASES = b"alias CP850// ANSI_X3.4-1968//\nalias IBM850// ANSI_X3.4-1968//\n"
"""mkfs.fat and mtools ask iconv for DOS's character set, which is a library of the machine; all
names that we write are ASCII, which is built into the C library.
Source: glibc, iconv/gconv_conf.c: the first alias of a name wins, GCONV_PATH comes first."""
OWN = (BYTECODE, CONVERSIONS, EMPTY)
"""What a tree holds besides its entries."""
KIND = "bytecode/1"
"""TREE/PATH → SHA-256 of what Python compiled there."""


def check(place: Path, entries: Sequence[Entry], links: dict[RootPath, str], store: Store) -> None:
    """Hold every file and link of a tree against its entry.

    A damaged tree is removed. Raises: Lost, naming what was damaged.
    """
    bad = next(_damaged(place, entries, links), None) or next(_unknown(place, entries), None)
    if bad is None:
        _remove_bytecode(place, noted(place, store))
        return
    with store.work() as work, contextlib.suppress(FileNotFoundError):  # another was faster
        place.rename(work / "damaged")
    raise Lost(
        "a tool of the store was damaged, and the toolbox has been removed",
        where=f"{place}: {bad}",
        fix="run the same command again; the tools are taken from their packages anew",
    )


def is_sound(
    place: Path, entries: Sequence[Entry], links: dict[RootPath, str], noted: dict[str, bytes]
) -> bool:
    """Tell whether a tree is what was laid down; what Python compiled is held against `noted`."""
    damaged = next(_damaged(place, entries, links), None)
    if damaged is not None or next(_unknown(place, entries), None) is not None:
        return False
    _remove_bytecode(place, noted)
    return True


def _damaged(
    place: Path, entries: Sequence[Entry], links: dict[RootPath, str]
) -> Iterator[RootPath]:
    if _sha256(under(place, CONVERSIONS)) != hashlib.sha256(ALIASES).hexdigest():
        yield CONVERSIONS
    for entry in entries:
        try:
            sound = _is_sound(under(place, entry.path), entry, links)
        except OSError:
            sound = False
        if not sound:
            yield entry.path


def _unknown(place: Path, entries: Sequence[Entry]) -> Iterator[RootPath]:
    """What lies in a tree and no entry names: a file added there could be run in a tool's place."""
    known = {entry.path for entry in entries}
    known |= {RootPath(str(top)) for path in known for top in PurePosixPath(path).parents}
    for directory, names, files in os.walk(place):
        below = RootPath(f"/{os.path.relpath(directory, place)}".removesuffix("/."))
        if below == BYTECODE:
            names.clear()  # see `_remove_bytecode`
            continue
        for name in (*names, *files):
            path = RootPath(f"{below}/{name}")
            if path not in known and not _is_own(path):
                yield path


def _is_own(path: RootPath) -> bool:
    """Whether every tree has this path, whatever its entries."""
    return any(one == path or one.startswith(f"{path}/") for one in OWN)


def _is_sound(path: Path, entry: Entry, links: dict[RootPath, str]) -> bool:
    match entry.kind:
        case Kind.DIRECTORY:
            return path.is_dir()
        case Kind.LINK:
            return str(path.readlink()) == links[entry.path]
        case Kind.FILE | Kind.HARDLINK:
            return _sha256(path) == entry.sha256
        case Kind.OTHER:
            return False
        case _:
            assert_never(entry.kind)


def _remove_bytecode(place: Path, noted: dict[str, bytes]) -> None:
    """Remove what Python compiled and nobody noted, or what has changed since: it is made anew."""
    for key, path in _compiled(place):
        if not key.endswith(".pyc") or noted.get(key) != _sha256(path).encode():
            path.unlink(missing_ok=True)


def noted(place: Path, store: Store) -> dict[str, bytes]:
    """What Python compiled in a tree and was noted: key → SHA-256."""
    return store.get_all(KIND, f"{place.name}/")


def note_bytecode(place: Path, store: Store) -> None:
    """Note what Python has just compiled in a tree."""
    before = noted(place, store)
    new = {
        key: _sha256(path).encode()
        for key, path in _compiled(place)
        if key.endswith(".pyc") and key not in before
    }
    if new:
        store.put(KIND, new)


def _compiled(place: Path) -> Iterator[tuple[str, Path]]:
    """The files where Python puts what it compiles: the key of each one's record, and its place."""
    top = str(under(place, BYTECODE))
    for directory, names, files in os.walk(top):
        linked = [name for name in names if Path(directory, name).is_symlink()]
        for name in (*files, *linked):
            path = f"{directory}/{name}"
            yield f"{place.name}/{path[len(top) + 1 :]}", Path(path)


def _sha256(path: Path) -> str:
    """Of a file's bytes; "" when it is gone, as what Python compiled may be at any time."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
