"""A root as one `Files`: each content is looked at when it is asked for, and no more than needed."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from minbuild.facts import sniff
from minbuild.facts.root.offer import Offer
from minbuild.facts.types import Entry, FileFacts, Files, Kind, Symbols
from minbuild.paths import RootPath

READERS = 8
"""Files whose start is read at a time: a disk answers many questions sooner than one by one."""
_CHUNK = 2048
_CONTENT = (Kind.FILE, Kind.HARDLINK)


def seen(offer: Offer) -> Files:
    """Make one `Files`, owned by "", of a root; nothing is hashed.

    Of an ELF object only the tables of its loader are read; a file that starts like nothing that
    is known is never read further.
    """
    entries = {path: _entry(offer, path) for path in offer.found}
    known = _starts(offer, [path for path, one in entries.items() if one.kind in _CONTENT])

    @cache
    def facts(path: RootPath) -> FileFacts | None:
        head = known.get(path)
        if head is None:
            return None
        if sniff.linked(head) and sniff.packed_module(path) is None:
            from minbuild.facts.elf import elf

            return elf(offer.view(path), strings=False)
        return sniff.sniff(path, offer.content(path) if sniff.whole(path, head) else head)

    @cache
    def symbols(path: RootPath) -> Symbols | None:
        head = known.get(path)
        if head is None or not sniff.whole(path, head):
            return None
        if sniff.packed_module(path) is None and sniff.linked(head):
            from minbuild.facts.symbols import symbols as read

            return read(offer.view(path))
        return sniff.symbols(path, offer.content(path))

    return Files(owner="", entries=dict(sorted(entries.items())), facts=facts, symbols=symbols)


def _starts(offer: Offer, paths: Sequence[RootPath]) -> Mapping[RootPath, bytes]:
    """How each file begins that anything is known of."""

    def read(chunk: Sequence[RootPath]) -> list[tuple[RootPath, bytes]]:
        found = ((path, offer.head(path, sniff.HEAD)) for path in chunk)
        return [(path, head) for path, head in found if sniff.known_start(path, head)]

    with ThreadPoolExecutor(READERS) as pool:
        return dict(each for chunk in pool.map(read, _chunks(paths)) for each in chunk)


def _chunks(paths: Sequence[RootPath]) -> Iterator[Sequence[RootPath]]:
    return (paths[at : at + _CHUNK] for at in range(0, len(paths), _CHUNK))


def _entry(offer: Offer, path: RootPath) -> Entry:
    found = offer.found[path]
    target = found.target
    if found.kind is Kind.HARDLINK:
        target = offer.by_raw[target].path
    return Entry(path, found.kind, found.mode, found.uid, found.gid, found.size, target=target)
