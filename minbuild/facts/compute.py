"""One pass over a package: its entries, and what is known of each file's content."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import BoundedSemaphore

from minbuild.facts import record, sniff
from minbuild.facts.control import Control, control_of
from minbuild.facts.damage import Damage
from minbuild.facts.deb import alternatives, opened
from minbuild.facts.place import place_of
from minbuild.facts.tar import Header, Tar, Type
from minbuild.facts.types import Damaged, Entry, FileFacts, Kind, Symbols
from minbuild.paths import RootPath, rootpath

LARGEST = 384 << 20
"""Bytes of the largest file that is read whole; a larger ELF object is Damaged."""

Known = tuple[FileFacts | None, Symbols | None]


@dataclass(frozen=True, slots=True)
class Computed:
    """The records of one package, as the store keeps them."""

    files: bytes
    facts: tuple[tuple[int, bytes], ...]
    symbols: tuple[tuple[int, bytes], ...]
    control: Control


def compute(path: Path, label: str, threads: int) -> Computed:
    """Read the .deb at `path`; `label` names it in errors.

    Raises: ArchiveError when it cannot be read or must not be.
    """
    with opened(path, label) as deb:
        control = deb.control()
        found = _files(deb.data(), threads)
    about = record.About(
        version=control.get("version", ""),
        depends=alternatives(control.get("pre-depends", ""))
        + alternatives(control.get("depends", "")),
        provides=tuple(group[0] for group in alternatives(control.get("provides", ""))),
    )
    return _packed(about, found, control_of(control))


def _packed(about: record.About, found: list[tuple[Entry, Known]], control: Control) -> Computed:
    found.sort(key=lambda pair: pair[0].path)
    facts: list[tuple[int, bytes]] = []
    symbols: list[tuple[int, bytes]] = []
    flags: list[int] = []
    for index, (_, (known, dynamic)) in enumerate(found):
        flags.append(0)
        if known is not None:
            flags[-1] |= record.HAS_FACTS
            facts.append((index, record.pack_facts(known)))
        if dynamic is not None:
            flags[-1] |= record.HAS_SYMBOLS
            symbols.append((index, record.pack_symbols(dynamic)))
    files = record.pack_files(about, [entry for entry, _ in found], flags)
    return Computed(files, tuple(facts), tuple(symbols), control)


def _files(tar: Tar, threads: int) -> list[tuple[Entry, Known]]:
    entries: dict[RootPath, Entry] = {}
    known: dict[RootPath, Known | Future[Known]] = {}
    with _helpers(threads) as helpers:
        for header in tar:
            path = place_of(header)
            if path == "/" or _again(header, entries.get(path)):
                continue
            if header.type is Type.FILE:
                sha256, known[path] = _content(tar, path, header.size, helpers)
                entries[path] = _entry(header, path, sha256)
            else:
                entries[path] = _linked(header, path, entries)
    _check_links(entries)
    return [(entry, _done(known.get(path))) for path, entry in entries.items()]


class _Helpers:
    """Threads that unpack and read modules while the next one is read from the package."""

    def __init__(self, threads: int) -> None:
        self.pool = ThreadPoolExecutor(threads)
        self._room = BoundedSemaphore(threads + 1)

    def read(self, path: str, data: bytes) -> Future[Known]:
        self._room.acquire()
        future = self.pool.submit(sniff.known, path, data)
        future.add_done_callback(lambda _: self._room.release())
        return future


@contextmanager
def _helpers(threads: int) -> Iterator[_Helpers]:
    helpers = _Helpers(threads)
    try:
        yield helpers
    except BaseException:
        helpers.pool.shutdown(cancel_futures=True)
        raise
    helpers.pool.shutdown()


def _content(
    tar: Tar, path: RootPath, size: int, helpers: _Helpers
) -> tuple[str, Known | Future[Known]]:
    head = tar.start(sniff.HEAD)
    if not sniff.whole(path, head):
        return _digest(tar, head), (sniff.sniff(path, head), None)
    if size > LARGEST:
        reason = f"it is larger than what is read of one file ({LARGEST} bytes)"
        return _digest(tar, head), (Damaged(reason), None)
    data = head + tar.content()
    sha256 = hashlib.sha256(data).hexdigest()
    if sniff.packed_module(path):
        return sha256, helpers.read(path, data)
    return sha256, sniff.known(path, data)


def _digest(tar: Tar, head: bytes) -> str:
    digest = hashlib.sha256(head)
    for piece in tar.pieces():
        digest.update(piece)
    return digest.hexdigest()


def _done(known: Known | Future[Known] | None) -> Known:
    if known is None:
        return None, None
    return known.result() if isinstance(known, Future) else known


def _again(header: Header, before: Entry | None) -> bool:
    """True for a directory that came before. Raises: Damage for anything else that did."""
    if before is None:
        return False
    if before.kind is Kind.DIRECTORY and header.type is Type.DIRECTORY:
        return True
    raise Damage(f"it has two members of one name: {before.path}")


def _entry(header: Header, path: RootPath, sha256: str) -> Entry:
    return Entry(path, Kind.FILE, header.mode, header.uid, header.gid, header.size, sha256)


def _linked(header: Header, path: RootPath, entries: dict[RootPath, Entry]) -> Entry:
    """An entry without content of its own."""
    if header.type is Type.DIRECTORY:
        return Entry(path, Kind.DIRECTORY, header.mode, header.uid, header.gid)
    if header.type is Type.LINK:
        return Entry(path, Kind.LINK, 0o777, header.uid, header.gid, target=header.target)
    first = entries.get(rootpath(header.target))
    if first is not None and first.kind is Kind.LINK:  # a second name of the link itself
        return Entry(path, Kind.LINK, 0o777, first.uid, first.gid, target=first.target)
    if first is None or first.kind not in (Kind.FILE, Kind.HARDLINK):
        raise Damage(f"it has a hard link to what is no file of it: {path} to {header.target}")
    return Entry(
        path,
        Kind.HARDLINK,
        first.mode,
        first.uid,
        first.gid,
        first.size,
        first.sha256,
        first.target or first.path,
    )


def _check_links(entries: dict[RootPath, Entry]) -> None:
    """Refuse members that would be laid down through a link or below a file of the package."""
    for path, after in pairwise(sorted(f"{path}/" for path in entries)):
        if after.startswith(path) and entries[RootPath(path[:-1])].kind is not Kind.DIRECTORY:
            raise Damage(f"it has {after[:-1]} below {path[:-1]}, which is no directory of it")
