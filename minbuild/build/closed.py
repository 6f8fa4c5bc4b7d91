"""The proof that a root needs nothing outside of it, for any root: built by us or not."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from minbuild.build.commands import cautions
from minbuild.build.request import Doors
from minbuild.build.rooted import open_root, unpacker
from minbuild.facts.root.offer import Offer
from minbuild.facts.root.seen import seen
from minbuild.facts.root.types import Source
from minbuild.facts.types import Elf, Files, Kind
from minbuild.image.cpio import MAGICS
from minbuild.image.packings import packing
from minbuild.manifest.rulebook import rulebook
from minbuild.manifest.types import Waiver
from minbuild.report.dangling import Examined
from minbuild.resolve.catalog import MERGED_LINKS
from minbuild.resolve.check import check
from minbuild.resolve.knowledge import RUNTIME
from minbuild.resolve.machine import architecture
from minbuild.resolve.waivers import Waivers
from minbuild.subject.disk import NoUki
from minbuild.subject.inside import Inside
from minbuild.subject.open import is_tar


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
        offer = Offer(source, owned=False)
        files = _merged(offer)
        arch = arch or _most(files)
        found = check(files, arch=arch, drop=drop, allow_missing=allow_missing, rulebook=rulebook())
        waivers = Waivers((), allow_missing)
        warned = cautions(files, offer.content, waivers, doors.store)
        return Examined(source.name, arch, len(files.entries), found, warned)


@contextlib.contextmanager
def _opened(path: Path, arch: str, doors: Doors) -> Iterator[Source]:
    image = _image(path, doors)
    if image is not None:
        yield image
        return
    with open_root(path, arch, doors, leave=RUNTIME) as source:
        yield source


def _image(path: Path, doors: Doors) -> Source | None:
    """What an image starts; None for all else, and for a disk that starts no UKI."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(1024)
    tool = unpacker(doors)
    if start.startswith((b"MZ", *MAGICS)):
        return Inside(path, tool)
    if packing(start) is not None and not is_tar(path):
        return Inside(path, tool)
    if start.startswith(b"QFI\xfb") or start[512:520] == b"EFI PART":
        with contextlib.suppress(NoUki):
            return Inside(path, tool)
    return None


def _merged(offer: Offer) -> Files:
    """A root's files; of an older root, not yet merged, /bin and /usr/bin are seen as one."""
    files = seen(offer)
    links = {
        path: link
        for path, link in MERGED_LINKS.items()
        if (raw := offer.by_raw.get(path.lstrip("/"))) is not None and raw.kind is Kind.DIRECTORY
    }
    return replace(files, entries=dict(sorted({**files.entries, **links}.items())))


def _most(files: Files) -> str:
    """The architecture of most programs and libraries; without any, one is as good as another."""
    counts: Counter[str] = Counter()
    for path in files.entries:
        facts = files.facts(path)
        if isinstance(facts, Elf) and facts.dynamic and (name := architecture(facts)):
            counts[name] += 1
    return max(sorted(counts), key=lambda name: counts[name], default="amd64")
