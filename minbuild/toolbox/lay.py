"""How the files of tools become a directory in the store, whole or not at all."""

import errno
import hashlib
import os
import posixpath
import shutil
from collections.abc import Sequence
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.facts.types import Entry, Kind
from minbuild.paths import RootPath, rootpath, under
from minbuild.records import full_disk
from minbuild.store import Lost, Store
from minbuild.toolbox import intact
from minbuild.toolbox.intact import ALIASES, BYTECODE, CONVERSIONS, EMPTY, GCONV

LAYOUT = "1"
"""Counts up when what a tree holds besides its entries changes."""


def tree_key(entries: Sequence[Entry]) -> str:
    """What names a tree of these entries: a digest over paths, modes, contents and links."""
    lines = [
        f"{entry.path}\0{entry.kind}\0{entry.mode:o}\0{entry.sha256}\0{entry.target}"
        for entry in sorted(entries, key=lambda entry: entry.path)
    ]
    return hashlib.sha256("\n".join([LAYOUT, *lines]).encode()).hexdigest()


def lay(entries: Sequence[Entry], store: Store) -> Path:
    """Make a tree of these entries in the store and return its place; the first to finish wins.

    One that is there is checked first.
    Raises: ToolError when a content is not in the store, or the entries are at odds; Lost when the
    tree was damaged.
    """
    place = store.tree(tree_key(entries))
    if place.is_dir():
        intact.check(place, entries, inner_links(entries), store)
        return place
    with full_disk(store.directory), store.work() as work:
        top = work / "tree"
        top.mkdir()
        _fill(top, sorted(entries, key=lambda entry: entry.path), store)
        try:
            top.rename(place)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
    return place


def _fill(top: Path, entries: Sequence[Entry], store: Store) -> None:
    """Links come last, so that nothing is ever written through one."""
    for path in (GCONV, EMPTY, BYTECODE):
        under(top, path).mkdir(parents=True)
    under(top, CONVERSIONS).write_bytes(ALIASES)
    try:
        for entry in entries:
            if entry.kind is Kind.DIRECTORY:
                under(top, entry.path).mkdir(parents=True, exist_ok=True)
        for entry in entries:
            if entry.kind in {Kind.FILE, Kind.HARDLINK}:
                _file(under(top, entry.path), entry, store)
        for entry in entries:
            if entry.kind is Kind.LINK:
                place = under(top, entry.path)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(inner(entry.path, entry.target))
    except (FileExistsError, NotADirectoryError) as error:
        raise ToolError(
            "two files of the toolbox are at odds",
            where=str(error.filename2 or error.filename).removeprefix(str(top)),
            fix="pin packages that fit together: minbuild lock --update",
        ) from error


def _file(place: Path, entry: Entry, store: Store) -> None:
    """Link a file of the store; copy one that is executed, the store holds none that may be."""
    if store.read(entry.sha256) is None:
        raise Lost(
            "the store lost a file of the toolbox",
            where=f"{entry.path} ({entry.sha256})",
            fix="run the same command again; the file is taken from its package anew",
        )
    source = store.file(entry.sha256)
    assert source is not None
    place.parent.mkdir(parents=True, exist_ok=True)
    if entry.mode & 0o111:
        shutil.copyfile(source, place)
        place.chmod(0o555)
        return
    try:
        os.link(source, place)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, place)
        place.chmod(0o444)


def inner_links(entries: Sequence[Entry]) -> dict[RootPath, str]:
    """The links of a tree, as they are laid down."""
    return {e.path: inner(e.path, e.target) for e in entries if e.kind is Kind.LINK}


def inner(path: RootPath, target: str) -> str:
    """A link's text as a relative one that stays inside the tree: nothing leads to the machine."""
    directory = posixpath.dirname(path)
    return posixpath.relpath(rootpath(posixpath.join(directory, target)), directory)
