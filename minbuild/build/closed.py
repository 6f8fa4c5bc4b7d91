"""The proof that a root needs nothing outside of it, for any root: built by us or not."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minbuild.build.commands import cautions
from minbuild.build.request import Doors
from minbuild.build.rooted import open_root
from minbuild.errors import UsageError
from minbuild.facts.root.container import ANY, Choice
from minbuild.facts.root.offer import Offer
from minbuild.facts.root.seen import seen
from minbuild.facts.types import Damaged, Elf, Entry, Files, Kind, Module, Script
from minbuild.manifest.rulebook import rulebook
from minbuild.manifest.types import Waiver
from minbuild.report.dangling import Examined
from minbuild.resolve.check import check
from minbuild.resolve.knowledge import RUNTIME
from minbuild.resolve.machine import architecture
from minbuild.resolve.waivers import Waivers


def examine(
    path: Path,
    doors: Doors,
    *,
    arch: str = "",
    choice: Choice = ANY,
    drop: Sequence[Waiver] = (),
    allow_missing: Sequence[Waiver] = (),
) -> Examined:
    """Check the root that `path` names: a directory, a tar, a container image, a disk, a UKI, a build.

    `arch`: "" for the one that most of its programs are made for. `choice`: which of several.
    Raises: UsageError when there is no such root; ToolError when it is damaged.
    """
    with open_root(path, doors, choice=choice, leave=RUNTIME) as source:
        doors.progress.step(f"reading {source.name}")
        offer = Offer(source, owned=False, merged=False)
        files = _as_it_is(offer)
        if not any(one.kind is Kind.FILE for one in offer.by_raw.values()):
            raise _nothing("it holds no file", source.name)
        arch = arch or _most(files)
        found = check(files, arch=arch, drop=drop, allow_missing=allow_missing, rulebook=rulebook())
        if not found and not any(isinstance(files.facts(path), _STARTED) for path in files.entries):
            raise _nothing("it holds no program, library, script or kernel module", source.name)
        waivers = Waivers((), allow_missing)
        warned = cautions(files, offer.content, waivers, doors.store)
        return Examined(source.name, arch, len(files.entries), found, warned)


_STARTED = (Elf, Script, Module, Damaged)


def _nothing(why: str, where: str) -> UsageError:
    return UsageError(
        f"there is nothing to prove: {why}", where=where,
        fix="name a root that holds programs, or another partition: --partition",
    )  # fmt: skip


def _as_it_is(offer: Offer) -> Files:
    """A root's files, and the links to what it keeps under other names than are told."""
    files = seen(offer)
    links = {
        path: Entry(path, Kind.LINK, 0o777, target=text)
        for path, text in offer.places.links.items()
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
