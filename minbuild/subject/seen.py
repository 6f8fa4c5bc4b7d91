"""One path of a stranger's tree as it was found, and how found paths become a footprint."""

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from minbuild.facts.traits import DATA, Traits, traits
from minbuild.footprint.measure import NOTHING, add_up
from minbuild.footprint.packed import guess
from minbuild.footprint.surface import Evidence, surface, wanted
from minbuild.footprint.types import UNOWNED, FileRow, Footprint
from minbuild.paths import RootPath

SAMPLE, SLICES = 1 << 16, 4
"""Bytes of a file, in so many slices, whose compressed size stands for all of it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One path, measured; its content is not kept."""

    path: RootPath
    type: str
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    sha256: str = ""
    target: str = ""
    weight: int = 0
    """About its compressed size."""
    traits: Traits = DATA
    text: str | None = None
    capability: str = ""


def content(seen: Seen, data: bytes, *, sample: bool = False) -> Seen:
    """Add what a regular file's bytes say; with `sample` its weight is that of a part of it."""
    text = data.decode("utf-8", "replace") if wanted(seen.path, len(data)) else None
    return replace(
        seen,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        weight=_weight(_sample(data) if sample else data, len(data)),
        traits=traits(data),
        text=text,
    )


def _sample(data: bytes) -> bytes:
    if len(data) <= SAMPLE:
        return data
    step, size = len(data) // SLICES, SAMPLE // SLICES
    return b"".join(data[at : at + size] for at in range(0, step * SLICES, step))


def _weight(sample: bytes, size: int) -> int:
    packed = len(zlib.compress(sample, 1))
    return guess(packed * size // len(sample), size) if sample else 0


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of a subject as a whole."""

    name: str
    kernel: str = ""
    kernel_path: RootPath | None = None
    """The kernel that stands beside the payload: its packed size is its own."""
    payload: int | None = None
    """Packed bytes of all files but that kernel; None where nothing is packed."""
    packed: Mapping[str, int] = field(default_factory=dict)
    overhead: Mapping[str, int] = field(default_factory=dict)
    cmdline: str | None = None
    kconfig: Mapping[str, str] | None = None
    capabilities: bool = False
    """True: the source says which files have capabilities."""
    owners: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Path → package and version."""
    beside: Footprint | None = None
    """The footprint written with it: owners of files that are still the same, and edges."""


def footprint(found: Iterable[Seen], origin: Origin) -> Footprint:
    """Measure what was found. Sorted by path; each path once, the last one found."""
    by_path = {one.path: one for one in found}
    seen = [by_path[path] for path in sorted(by_path)]
    shares = _shares(seen, origin)
    known = {row.path: row for row in origin.beside.files} if origin.beside else {}
    rows = tuple(_row(one, shares.get(one.path, 0), known, origin.owners) for one in seen)
    evidence = Evidence(
        traits={one.path: one.traits for one in seen},
        texts={one.path: one.text for one in seen if one.text is not None},
        cmdline=origin.cmdline,
        kconfig=origin.kconfig,
        capabilities={one.path: one.capability for one in seen if one.capability}
        if origin.capabilities
        else None,
    )
    beside = origin.beside
    empty = Footprint(
        name=origin.name,
        arch=beside.arch if beside else "",
        kernel=origin.kernel,
        suites=beside.suites if beside else (),
        packed=dict(sorted(origin.packed.items())),
        totals=NOTHING,
        sections=(),
        components=(),
        packages=(),
        files=rows,
        edges=tuple(e for e in beside.edges if e.path in by_path) if beside else (),
        budget=beside.budget if beside else {},
        places=beside.places if beside else {},
        surface=surface(rows, evidence),
    )
    versions = dict(origin.owners.values())
    if beside:
        versions |= {row.name: row.version for row in beside.packages}
    return add_up(empty, versions, origin.overhead)


def _row(
    one: Seen,
    share: int,
    known: Mapping[RootPath, FileRow],
    owners: Mapping[str, tuple[str, str]],
) -> FileRow:
    before = known.get(one.path)
    same = before is not None and before.sha256 == one.sha256 and before.target == one.target
    owner = before if same and before is not None else None
    return FileRow(
        path=one.path,
        type=one.type,
        mode=one.mode,
        uid=one.uid,
        gid=one.gid,
        size=one.size,
        sha256=one.sha256,
        target=one.target,
        package=owner.package if owner else owners.get(one.path, ("", ""))[0],
        component=owner.component if owner else UNOWNED,
        section=owner.section if owner else UNOWNED,
        packed=share,
    )


def _shares(seen: list[Seen], origin: Origin) -> dict[RootPath, int]:
    """Share the payload out by weight; the parts sum to it exactly."""
    shares: dict[RootPath, int] = {}
    packed = [one for one in seen if one.type == "file" and one.path != origin.kernel_path]
    total = sum(one.weight for one in packed)
    payload = total if origin.payload is None else origin.payload
    given = before = 0
    for one in packed:
        given += one.weight
        upto = payload * given // total if total else 0
        shares[one.path] = upto - before
        before = upto
    for one in seen:
        if one.path == origin.kernel_path:
            shares[one.path] = one.size
    return shares
