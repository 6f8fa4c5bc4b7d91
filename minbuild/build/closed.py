"""The proof that a root needs nothing outside of it, for any root: built by us or not."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minbuild.build.request import Doors
from minbuild.build.rooted import open_root
from minbuild.errors import UsageError
from minbuild.facts import sniff
from minbuild.facts.root.offer import Offer
from minbuild.facts.root.types import Source
from minbuild.facts.types import Elf, Entry, FileFacts, Files, Kind, Symbols
from minbuild.manifest.types import Waiver
from minbuild.paths import RootPath
from minbuild.resolve.catalog import MERGED_LINKS
from minbuild.resolve.check import check
from minbuild.resolve.machine import architecture
from minbuild.resolve.types import Missing
from minbuild.subject.inside import Inside

_CPIO = (b"070701", b"070702")
_PACKED = (b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"\xfd7zXZ\0")


@dataclass(frozen=True, slots=True)
class Examined:
    """A root that was checked."""

    name: str
    arch: str
    """That of most of its programs."""
    paths: int
    dangling: tuple[Missing, ...]
    """Sorted."""


def examine(
    path: Path,
    doors: Doors,
    *,
    arch: str = "",
    drop: Sequence[Waiver] = (),
    allow_missing: Sequence[Waiver] = (),
) -> Examined:
    """Check the root that `path` names: a directory, a tar, an OCI layout, a disk, a UKI.

    `arch`: "" for the one that most of its programs are made for.
    Raises: UsageError when there is no such root; ToolError when it is damaged.
    """
    with _opened(path, arch, doors) as source:
        doors.progress.step(f"reading {source.name}")
        files = _files(Offer(source, owned=False))
        arch = arch or _most(files)
        found = check(files, arch=arch, drop=drop, allow_missing=allow_missing)
        return Examined(source.name, arch, len(files.entries), found)


@contextlib.contextmanager
def _opened(path: Path, arch: str, doors: Doors) -> Iterator[Source]:
    image = _image(path)
    if image is not None:
        yield image
        return
    with open_root(path, arch, doors) as source:
        yield source


def _image(path: Path) -> Source | None:
    """What an image starts; None for all else, and for a disk that starts no UKI."""
    import tarfile

    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(1024)
    if start.startswith(b"MZ"):
        return Inside(path)
    if start.startswith((*_CPIO, *_PACKED)):
        return None if tarfile.is_tarfile(path) else Inside(path)
    if start.startswith(b"QFI\xfb") or start[512:520] == b"EFI PART":
        with contextlib.suppress(UsageError):
            return Inside(path)
    return None


def _files(offer: Offer) -> Files:
    """A root as one `Files`; contents are read when they are asked for, and not hashed."""
    entries = {path: _entry(offer, path) for path in offer.found}
    for path, link in MERGED_LINKS.items():
        # an older root, not yet merged: its /bin and /usr/bin are seen as one
        before = offer.by_raw.get(path.lstrip("/"))
        if before is not None and before.kind is Kind.DIRECTORY:
            entries[path] = link

    @cache
    def facts(path: RootPath) -> FileFacts | None:
        return sniff.sniff(path, offer.content(path)) if is_file(path) else None

    @cache
    def symbols(path: RootPath) -> Symbols | None:
        return sniff.symbols(path, offer.content(path)) if is_file(path) else None

    def is_file(path: RootPath) -> bool:
        return path in offer.found and offer.found[path].kind in (Kind.FILE, Kind.HARDLINK)

    return Files(owner="", entries=dict(sorted(entries.items())), facts=facts, symbols=symbols)


def _entry(offer: Offer, path: RootPath) -> Entry:
    found = offer.found[path]
    target = found.target
    if found.kind is Kind.HARDLINK:
        target = offer.by_raw[target].path
    return Entry(path, found.kind, found.mode, found.uid, found.gid, found.size, target=target)


def _most(files: Files) -> str:
    """The architecture of most programs and libraries; without any, one is as good as another."""
    counts: Counter[str] = Counter()
    for path in files.entries:
        facts = files.facts(path)
        if isinstance(facts, Elf) and facts.dynamic and (name := architecture(facts)):
            counts[name] += 1
    return max(sorted(counts), key=lambda name: counts[name], default="amd64")
