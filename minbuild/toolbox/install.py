"""Installation of a toolbox in the cache, and the check that no tool is damaged: it must make no image."""

import contextlib
import errno
import hashlib
import os
import posixpath
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import assert_never

from minbuild.cache.records import RecordKind
from minbuild.cache.store import CacheCorrupted, Store
from minbuild.errors import ToolError
from minbuild.facts.model import FileEntry
from minbuild.file_io import hash_file, translate_disk_errors
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath, to_host_path, to_root_path

BYTECODE_DIRECTORY = RootPath("/usr/lib/minbuild/bytecode")
GCONV_DIRECTORY = RootPath("/usr/lib/minbuild/gconv")
EMPTY_DIRECTORY = RootPath("/usr/lib/minbuild/empty")
GCONV_MODULES = RootPath(f"{GCONV_DIRECTORY}/gconv-modules")
GCONV_ALIASES = b"alias CP850// ANSI_X3.4-1968//\nalias IBM850// ANSI_X3.4-1968//\n"
"""mkfs.fat and mtools ask iconv for DOS's character set, which is a library of the machine; all
names that we write are ASCII, which is built into the C library.
Source: glibc, iconv/gconv_conf.c: the first alias of a name wins, GCONV_PATH comes first."""
EXTRA_PATHS = (BYTECODE_DIRECTORY, GCONV_MODULES, EMPTY_DIRECTORY)
"""What a tree holds besides its entries."""


def require_intact(
    root: Path, entries: Sequence[FileEntry], links: dict[RootPath, str], store: Store
) -> None:
    """Hold every file and link of a tree against its entry.

    A damaged tree is removed. Raises: Lost, naming what was damaged.
    """
    damaged = next(_find_damaged(root, entries, links), None) or next(
        _find_unknown(root, entries), None
    )
    if damaged is None:
        _remove_bytecode(root, read_bytecode_digests(root, store))
        return
    with (
        store.create_temp_dir() as work,
        contextlib.suppress(FileNotFoundError),
    ):  # another was faster
        root.rename(work / "damaged")
    raise CacheCorrupted(
        "a tool of the store was damaged, and the toolbox has been removed",
        where=f"{root}: {damaged}",
        fix="run the same command again; the tools are taken from their packages anew",
    )


def is_intact(
    root: Path, entries: Sequence[FileEntry], links: dict[RootPath, str], digests: dict[str, bytes]
) -> bool:
    """Tell whether a tree is what was laid down; what Python compiled is held against `noted`."""
    damaged = next(_find_damaged(root, entries, links), None)
    if damaged is not None or next(_find_unknown(root, entries), None) is not None:
        return False
    _remove_bytecode(root, digests)
    return True


def _find_damaged(
    root: Path, entries: Sequence[FileEntry], links: dict[RootPath, str]
) -> Iterator[RootPath]:
    if (
        _hash_if_present(to_host_path(root, GCONV_MODULES))
        != hashlib.sha256(GCONV_ALIASES).hexdigest()
    ):
        yield GCONV_MODULES
    for entry in entries:
        try:
            is_entry_sound = _is_entry_intact(to_host_path(root, entry.path), entry, links)
        except OSError:
            is_entry_sound = False
        if not is_entry_sound:
            yield entry.path


def _find_unknown(root: Path, entries: Sequence[FileEntry]) -> Iterator[RootPath]:
    """What lies in a tree and no entry names: a file added there could be run in a tool's place."""
    known_paths = {entry.path for entry in entries}
    known_paths |= {
        RootPath(str(top)) for path in known_paths for top in PurePosixPath(path).parents
    }
    for directory, names, files in os.walk(root):
        root_path = RootPath(f"/{os.path.relpath(directory, root)}".removesuffix("/."))
        if root_path == BYTECODE_DIRECTORY:
            names.clear()  # see `_remove_bytecode`
            continue
        for name in (*names, *files):
            path = RootPath(f"{root_path}/{name}")
            if path not in known_paths and not _is_extra(path):
                yield path


def _is_extra(path: RootPath) -> bool:
    """Whether every tree has this path, whatever its entries."""
    return any(one == path or one.startswith(f"{path}/") for one in EXTRA_PATHS)


def _is_entry_intact(path: Path, entry: FileEntry, links: dict[RootPath, str]) -> bool:
    match entry.kind:
        case FileType.DIRECTORY:
            return path.is_dir()
        case FileType.LINK:
            return str(path.readlink()) == links[entry.path]
        case FileType.FILE | FileType.HARDLINK:
            return _hash_if_present(path) == entry.sha256
        case FileType.OTHER:
            return False
        case _:
            assert_never(entry.kind)


def _remove_bytecode(root: Path, digests: dict[str, bytes]) -> None:
    """Remove what Python compiled and nobody noted, or what has changed since: it is made anew."""
    for key, path in _list_bytecode(root):
        if not key.endswith(".pyc") or digests.get(key) != _hash_if_present(path).encode():
            path.unlink(missing_ok=True)


def read_bytecode_digests(root: Path, store: Store) -> dict[str, bytes]:
    """What Python compiled in a tree and was noted: key → SHA-256."""
    return store.get_all(RecordKind.BYTECODE, f"{root.name}/")


def record_bytecode(root: Path, store: Store) -> None:
    """Note what Python has just compiled in a tree."""
    recorded = read_bytecode_digests(root, store)
    digests = {
        key: _hash_if_present(path).encode()
        for key, path in _list_bytecode(root)
        if key.endswith(".pyc") and key not in recorded
    }
    if digests:
        store.put(RecordKind.BYTECODE, digests)


def _list_bytecode(root: Path) -> Iterator[tuple[str, Path]]:
    """The files where Python puts what it compiles: the key of each one's record, and its place."""
    top = str(to_host_path(root, BYTECODE_DIRECTORY))
    for directory, names, files in os.walk(top):
        linked = [name for name in names if Path(directory, name).is_symlink()]
        for name in (*files, *linked):
            path = f"{directory}/{name}"
            yield f"{root.name}/{path[len(top) + 1 :]}", Path(path)


def _hash_if_present(path: Path) -> str:
    """SHA-256 of a file; "" when it is gone: bytecode may be removed at any time."""
    try:
        return hash_file(path)
    except FileNotFoundError:
        return ""


LAYOUT_VERSION = "1"
"""Counts up when what a tree holds besides its entries changes."""


def compute_tree_key(entries: Sequence[FileEntry]) -> str:
    """What names a tree of these entries: a digest over paths, modes, contents and links."""
    lines = [
        f"{entry.path}\0{entry.kind}\0{entry.mode:o}\0{entry.sha256}\0{entry.target}"
        for entry in sorted(entries, key=lambda entry: entry.path)
    ]
    return hashlib.sha256("\n".join([LAYOUT_VERSION, *lines]).encode()).hexdigest()


def install_tools(entries: Sequence[FileEntry], store: Store) -> Path:
    """Make a tree of these entries in the store and return its place; the first to finish wins.

    One that is there is checked first.
    Raises: ToolError when a content is not in the store, or the entries are at odds; Lost when the
    tree was damaged.
    """
    root = store.tree_path(compute_tree_key(entries))
    if root.is_dir():
        require_intact(root, entries, map_confined_links(entries), store)
        return root
    with translate_disk_errors(store.directory), store.create_temp_dir() as work:
        top = work / "tree"
        top.mkdir()
        _populate(top, sorted(entries, key=lambda entry: entry.path), store)
        try:
            top.rename(root)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
    return root


def _populate(top: Path, entries: Sequence[FileEntry], store: Store) -> None:
    """Links come last, so that nothing is ever written through one."""
    for path in (GCONV_DIRECTORY, EMPTY_DIRECTORY, BYTECODE_DIRECTORY):
        to_host_path(top, path).mkdir(parents=True)
    to_host_path(top, GCONV_MODULES).write_bytes(GCONV_ALIASES)
    try:
        for entry in entries:
            if entry.kind is FileType.DIRECTORY:
                to_host_path(top, entry.path).mkdir(parents=True, exist_ok=True)
        for entry in entries:
            if entry.kind in {FileType.FILE, FileType.HARDLINK}:
                _install_file(to_host_path(top, entry.path), entry, store)
        for entry in entries:
            if entry.kind is FileType.LINK:
                link = to_host_path(top, entry.path)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(confine_link(entry.path, entry.target))
    except (FileExistsError, NotADirectoryError) as error:
        raise ToolError(
            "two files of the toolbox are at odds",
            where=str(error.filename2 or error.filename).removeprefix(str(top)),
            fix="pin packages that fit together: minbuild lock --update",
        ) from error


def _install_file(target: Path, entry: FileEntry, store: Store) -> None:
    """Link a file of the store; copy one that is executed, the store holds none that may be."""
    if store.read(entry.sha256) is None:
        raise CacheCorrupted(
            "the store lost a file of the toolbox",
            where=f"{entry.path} ({entry.sha256})",
            fix="run the same command again; the file is taken from its package anew",
        )
    source = store.path(entry.sha256)
    assert source is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    if entry.mode & 0o111:
        shutil.copyfile(source, target)
        target.chmod(0o555)
        return
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, target)
        target.chmod(0o444)


def map_confined_links(entries: Sequence[FileEntry]) -> dict[RootPath, str]:
    """The links of a tree, as they are laid down."""
    return {e.path: confine_link(e.path, e.target) for e in entries if e.kind is FileType.LINK}


def confine_link(path: RootPath, target: str) -> str:
    """A link's text as a relative one that stays inside the tree: nothing leads to the machine."""
    directory = posixpath.dirname(path)
    return posixpath.relpath(to_root_path(posixpath.join(directory, target)), directory)
