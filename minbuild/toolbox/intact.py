"""Whether a tree of tools is still what was laid down: a damaged tool must not make an image."""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import assert_never

from minbuild.facts.types import Entry, Kind
from minbuild.paths import RootPath, under
from minbuild.store import Lost, Store

BYTECODE = RootPath("/usr/lib/minbuild/bytecode")
KIND = "bytecode/1"
"""TREE/PATH → SHA-256 of what Python compiled there."""


def check(place: Path, entries: Sequence[Entry], links: dict[RootPath, str], store: Store) -> None:
    """Hold every file and link of a tree against its entry.

    A damaged tree is removed. Raises: Lost, naming what was damaged.
    """
    bad = next(_damaged(place, entries, links), None)
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
    if next(_damaged(place, entries, links), None) is not None:
        return False
    _remove_bytecode(place, noted)
    return True


def _damaged(
    place: Path, entries: Sequence[Entry], links: dict[RootPath, str]
) -> Iterator[RootPath]:
    for entry in entries:
        try:
            sound = _is_sound(under(place, entry.path), entry, links)
        except OSError:
            sound = False
        if not sound:
            yield entry.path


def _is_sound(path: Path, entry: Entry, links: dict[RootPath, str]) -> bool:
    match entry.kind:
        case Kind.DIRECTORY:
            return path.is_dir()
        case Kind.LINK:
            return str(path.readlink()) == links[entry.path]
        case Kind.FILE | Kind.HARDLINK:
            return _sha256(path) == entry.sha256
        case _:
            assert_never(entry.kind)


def _remove_bytecode(place: Path, noted: dict[str, bytes]) -> None:
    """Remove what Python compiled and nobody noted, or what has changed since: it is made anew."""
    for key, path in _compiled(place):
        if noted.get(key) != _sha256(path).encode():
            path.unlink(missing_ok=True)


def noted(place: Path, store: Store) -> dict[str, bytes]:
    """What Python compiled in a tree and was noted: key → SHA-256."""
    return store.get_all(KIND, f"{place.name}/")


def note_bytecode(place: Path, store: Store) -> None:
    """Note what Python has just compiled in a tree."""
    before = noted(place, store)
    new = {key: _sha256(path).encode() for key, path in _compiled(place) if key not in before}
    if new:
        store.put(KIND, new)


def _compiled(place: Path) -> Iterator[tuple[str, Path]]:
    """What Python compiled in a tree: the key of its record, and where it lies."""
    top = str(under(place, BYTECODE))
    for directory, _, names in os.walk(top):
        for name in names:
            if name.endswith(".pyc"):
                path = f"{directory}/{name}"
                yield f"{place.name}/{path[len(top) + 1 :]}", Path(path)


def _sha256(path: Path) -> str:
    """Of a file's bytes; "" when it is gone, as what Python compiled may be at any time."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
