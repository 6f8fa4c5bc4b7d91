"""A root as one `Files`: each content is looked at when it is asked for, and no more than needed."""

from functools import cache

from minbuild.facts import sniff
from minbuild.facts.root.offer import Offer
from minbuild.facts.types import Entry, FileFacts, Files, Kind, Symbols
from minbuild.paths import RootPath

_CONTENT = (Kind.FILE, Kind.HARDLINK)


def seen(offer: Offer) -> Files:
    """Make one `Files`, owned by "", of a root; nothing is hashed.

    Of an ELF object only the tables of its loader are read; a file that starts like nothing that
    is known is never read further.
    """
    entries = {path: _entry(offer, path) for path in offer.found}
    starts = offer.heads([p for p, one in entries.items() if one.kind in _CONTENT], sniff.HEAD)
    known = {path: head for path, head in starts.items() if sniff.known_start(path, head)}

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


def _entry(offer: Offer, path: RootPath) -> Entry:
    found = offer.found[path]
    target = found.target
    if found.kind is Kind.HARDLINK:
        target = offer.path(target)
    return Entry(path, found.kind, found.mode, found.uid, found.gid, found.size, target=target)
