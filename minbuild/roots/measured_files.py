"""Files of a root as they were measured, and the footprint made from them."""

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from minbuild.facts.file_hardening import DATA, Hardening, read_hardening
from minbuild.footprint.attack_surface import SurfaceInputs, find_surface, is_surface_text
from minbuild.footprint.measure import ZERO_TOTALS, estimate_compressed, with_totals
from minbuild.footprint.model import UNOWNED, FileRow, Footprint
from minbuild.paths import RootPath

SAMPLE_SIZE, SLICES = 1 << 16, 4
"""Bytes of a file, in so many slices, whose compressed size stands for all of it."""


@dataclass(frozen=True, slots=True)
class MeasuredFile:
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
    traits: Hardening = DATA
    text: str | None = None
    capability: str = ""


def with_content(file: MeasuredFile, data: bytes, *, sample: bool = False) -> MeasuredFile:
    """Add what a regular file's bytes say; with `sample` its weight is that of a part of it."""
    text = data.decode("utf-8", "replace") if is_surface_text(file.path, len(data)) else None
    return replace(
        file,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        weight=_estimate_weight(_take_sample(data) if sample else data, len(data)),
        traits=read_hardening(data),
        text=text,
    )


def _take_sample(data: bytes) -> bytes:
    if len(data) <= SAMPLE_SIZE:
        return data
    step, size = len(data) // SLICES, SAMPLE_SIZE // SLICES
    return b"".join(data[at : at + size] for at in range(0, step * SLICES, step))


def _estimate_weight(sample: bytes, size: int) -> int:
    packed = len(zlib.compress(sample, 1))
    return estimate_compressed(packed * size // len(sample), size) if sample else 0


@dataclass(frozen=True, slots=True)
class MeasuredRoot:
    """What is known of a subject as a whole."""

    name: str
    kernel: str = ""
    beside: frozenset[RootPath] = frozenset()
    """What stands beside the payload, the kernel and Xen: their packed size is their own."""
    payload: int | None = None
    """Packed bytes of all files but that kernel; None where nothing is packed."""
    packed: Mapping[str, int] = field(default_factory=dict)
    overhead: Mapping[str, int] = field(default_factory=dict)
    cmdline: str | None = None
    xen_cmdline: str = ""
    """Of the hypervisor; "" for none."""
    kconfig: Mapping[str, str] | None = None
    capabilities: bool = False
    """True: the source says which files have capabilities."""
    owners: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Path → package and version."""
    sibling: Footprint | None = None
    """The footprint written with it: owners of files that are still the same, and edges."""


def build_footprint(files: Iterable[MeasuredFile], root: MeasuredRoot) -> Footprint:
    """Measure what was found. Sorted by path; each path once, the last one found."""
    by_path = {one.path: one for one in files}
    ordered_files = [by_path[path] for path in sorted(by_path)]
    shares = _share_payload(ordered_files, root)
    sibling_rows = {row.path: row for row in root.sibling.files} if root.sibling else {}
    rows = tuple(
        _make_row(one, shares.get(one.path, 0), sibling_rows, root.owners) for one in ordered_files
    )
    evidence = SurfaceInputs(
        traits={one.path: one.traits for one in ordered_files},
        texts={one.path: one.text for one in ordered_files if one.text is not None},
        cmdline=root.cmdline,
        xen_cmdline=root.xen_cmdline,
        kconfig=root.kconfig,
        capabilities={one.path: one.capability for one in ordered_files if one.capability}
        if root.capabilities
        else None,
    )
    sibling = root.sibling
    empty = Footprint(
        name=root.name,
        arch=sibling.arch if sibling else "",
        kernel=root.kernel,
        suites=sibling.suites if sibling else (),
        packed=dict(sorted(root.packed.items())),
        totals=ZERO_TOTALS,
        sections=(),
        components=(),
        packages=(),
        files=rows,
        edges=tuple(e for e in sibling.edges if e.path in by_path) if sibling else (),
        budget=sibling.budget if sibling else {},
        budget_locations=sibling.budget_locations if sibling else {},
        surface=find_surface(rows, evidence),
    )
    versions = dict(root.owners.values())
    if sibling:
        versions |= {row.name: row.version for row in sibling.packages}
    return with_totals(empty, versions, root.overhead)


def _make_row(
    file: MeasuredFile,
    share: int,
    sibling_rows: Mapping[RootPath, FileRow],
    owners: Mapping[str, tuple[str, str]],
) -> FileRow:
    previous = sibling_rows.get(file.path)
    is_same = (
        previous is not None and previous.sha256 == file.sha256 and previous.target == file.target
    )
    owner = previous if is_same and previous is not None else None
    return FileRow(
        path=file.path,
        type=file.type,
        mode=file.mode,
        uid=file.uid,
        gid=file.gid,
        size=file.size,
        sha256=file.sha256,
        target=file.target,
        package=owner.package if owner else owners.get(file.path, ("", ""))[0],
        component=owner.component if owner else UNOWNED,
        section=owner.section if owner else UNOWNED,
        packed=share,
    )


def _share_payload(files: list[MeasuredFile], root: MeasuredRoot) -> dict[RootPath, int]:
    """Share the payload out by weight; the parts sum to it exactly."""
    shares: dict[RootPath, int] = {}
    packed = [file for file in files if file.type == "file" and file.path not in root.beside]
    total = sum(file.weight for file in packed)
    payload = total if root.payload is None else root.payload
    weight_so_far = share_so_far = 0
    for file in packed:
        weight_so_far += file.weight
        share_end = payload * weight_so_far // total if total else 0
        shares[file.path] = share_end - share_so_far
        share_so_far = share_end
    for file in files:
        if file.path in root.beside:
            shares[file.path] = file.size
    return shares
