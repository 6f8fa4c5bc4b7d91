"""Trimming an installed root to what a manifest needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minbuild.build.commands import warned
from minbuild.build.life import read
from minbuild.build.proof import prove
from minbuild.build.request import Doors, Request
from minbuild.build.rooted import readers, stand_offer
from minbuild.build.weights import estimate, weigh
from minbuild.dib import trim as cutting
from minbuild.dib.archive import whole
from minbuild.errors import UsageError
from minbuild.facts.root.directory import Directory
from minbuild.facts.root.offer import Offer
from minbuild.facts.types import Kind
from minbuild.footprint import document
from minbuild.footprint.measure import measure
from minbuild.footprint.types import Footprint
from minbuild.image.segments import content
from minbuild.report import why
from minbuild.tree.assemble import assemble


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A root before and after."""

    files: int
    """Regular files before."""
    bytes: int
    footprint: Footprint
    removed: int
    """Paths that went."""


def trim(
    top: Path, request: Request, doors: Doors, *, keep: Sequence[str], dry: bool = False
) -> Trimmed:
    """Remove from the root at `top` all that the manifest does not need, and add what it makes.

    `keep`: directories below it that stay as they are. `dry`: nothing is changed.
    Raises: UsageError for this machine's own root; ResolveError when the root lacks something.
    """
    if not top.is_dir() or top.resolve() == Path("/"):
        raise UsageError(
            "this is no root that may be trimmed", where=str(top),
            fix="name the top of another root: a directory",
        )  # fmt: skip
    manifest = read(request, doors)
    rpm = readers(doors, request).rpm
    offer = Offer(Directory(top), owned=manifest.archive.owners, rpm=rpm)
    ground = stand_offer(manifest, offer, doors)
    tree = assemble(manifest, ground.closure, ground.files, doors.store)
    prove(ground, tree, doors)
    tree = warned(tree, manifest, doors.store)
    weights = weigh(tree, doors.store)
    packed = estimate(tree, weights)
    footprint = measure(
        manifest, tree, ground.lock.packages, initramfs=packed, packed={}, weights=weights
    )
    cut = cutting.plan(offer.found, offer.by_raw, tree, [name.strip("/") for name in keep])
    if not dry:
        doors.progress.step(f"trimming {top}")
        cutting.apply(top, cut, partial(content, doors.store))
    held = [found for found in offer.by_raw.values() if found.kind is Kind.FILE]
    return Trimmed(len(held), sum(found.size for found in held), footprint, len(cut.remove))


def write(trimmed: Trimmed, directory: Path) -> tuple[Path, ...]:
    """Write footprint.json and why.txt, the chain of needs of every path, to a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    footprint = trimmed.footprint
    chains = [why.as_text(why.explain(footprint, row.path, every=False)) for row in footprint.files]
    texts = {"footprint.json": document.render(footprint), "why.txt": "\n".join(chains)}
    for name, text in texts.items():
        with whole(directory / name) as out:
            out.write(text.encode())
    return tuple(directory / name for name in texts)
