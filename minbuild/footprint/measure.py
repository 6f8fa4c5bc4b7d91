"""Measurement of a tree and its images: every byte has one owner."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from minbuild.archive.model import Package
from minbuild.footprint.model import (
    IMAGE_OVERHEAD,
    BuildInputs,
    FileRow,
    FixedAddress,
    Footprint,
    OwnerRow,
    PackageRow,
    ProbeRow,
    Surface,
    Totals,
    WaiverRow,
)
from minbuild.formats.root_entry import FileType
from minbuild.kconfig.model import KernelOptions
from minbuild.manifest.limits import Limit, list_limits
from minbuild.manifest.model import Manifest, Section
from minbuild.paths import RootPath
from minbuild.resolve.builtin_tables import is_hypervisor_path
from minbuild.resolve.model import shorten_location
from minbuild.rootfs.model import RootfsNode, RootfsTree

STATIC_COMPONENT = "network/static"
"""The component with the variables address, gateway and nameservers."""
UNKNOWN_HYPERVISOR = RootPath("/boot/xen.efi")
"""Xen in an image that does not say which file it was made from."""
ZERO_TOTALS = Totals(0, 0, 0, 0, 0)


def measure_image(
    manifest: Manifest,
    tree: RootfsTree,
    packages: Sequence[Package],
    *,
    initramfs: int,
    packed: Mapping[str, int],
    weights: Mapping[str, int],
    surface: Surface | None = None,
    inputs: BuildInputs | None = None,
    options: KernelOptions | None = None,
) -> Footprint:
    """Measure an image.

    `initramfs` is its packed size; `packed` the size of each image by format, "efi" the one that
    boots; `weights` a compressed size for each content digest, by which the initramfs's bytes are
    shared out among its files.
    """
    files = _make_file_rows(tree, initramfs, weights)
    limits = manifest_limits(manifest)
    footprint = Footprint(
        name=manifest.name, arch=manifest.arch, kernel=tree.kernel_release,
        suites=manifest.archive.suites,
        packed=dict(sorted(packed.items())),
        totals=ZERO_TOTALS,
        sections=(), components=(), packages=(),
        files=files, edges=tree.needs,
        budget={name: limit.value for name, limit in limits.items()},
        budget_locations={name: shorten_location(limit.where) for name, limit in limits.items()},
        surface=surface, inputs=inputs,
        possible_dlopens=tree.unexplained_sonames,
        possible_data=tree.optional_files,
        warnings=tree.script_warnings,
        waivers=tuple(_list_waivers(manifest)),
        probes=list_probes(manifest), fixed_address=find_fixed_address(manifest),
        kernel_options=tuple(options.needs.values()) if options else (),
    )  # fmt: skip
    versions = {package.name: package.version for package in packages}
    overhead = packed["efi"] - sum(row.packed for row in files) if "efi" in packed else 0
    return with_totals(footprint, versions, {IMAGE_OVERHEAD: overhead})


def _make_file_rows(
    tree: RootfsTree, initramfs: int, weights: Mapping[str, int]
) -> tuple[FileRow, ...]:
    shares = _share_out(tree, initramfs, weights)
    return tuple(make_file_row(node, shares[node.path]) for node in tree.nodes)


def find_hypervisor_path(footprint: Footprint | None) -> RootPath:
    """The file that an image's hypervisor was made from, as the footprint beside it says."""
    paths = (row.path for row in footprint.files) if footprint else ()
    return next((path for path in paths if is_hypervisor_path(path)), UNKNOWN_HYPERVISOR)


def _list_waivers(manifest: Manifest) -> Iterator[WaiverRow]:
    for kind, lines in (("drop", manifest.drop), ("allow-missing", manifest.allow_missing)):
        for line in lines:
            yield WaiverRow(kind, line.path, line.because, shorten_location(line.where))


def list_probes(manifest: Manifest) -> tuple[ProbeRow, ...]:
    """List what the manifest's components have the lab ask."""
    return tuple(
        ProbeRow(
            one.name, one.console, one.limit, one.means,
            one.lease, one.lookup, one.tcp, one.to, one.says, shorten_location(one.where),
        )
        for component in manifest.components
        for one in (*([component.probe] if component.probe else ()), *component.probes)
    )  # fmt: skip


def find_fixed_address(manifest: Manifest) -> FixedAddress | None:
    """The address that network/static gives the host; None without that component."""
    if STATIC_COMPONENT not in {component.name for component in manifest.components}:
        return None
    nameservers = manifest.variables["nameservers"]
    assert isinstance(nameservers, list | tuple)
    return FixedAddress(
        str(manifest.variables["address"]),
        str(manifest.variables["gateway"]),
        tuple(map(str, nameservers)),
    )


def with_totals(
    footprint: Footprint, versions: Mapping[str, str], overhead: Mapping[str, int]
) -> Footprint:
    """Fill a footprint's totals and tables in from its files.

    `overhead` is what is packed of no file: a row of every table for each, in the order given.
    """
    files = footprint.files
    overhead_rows = tuple(OwnerRow(name, 0, 0, size) for name, size in overhead.items())
    packed_total = sum(row.packed for row in files) + sum(overhead.values())
    return replace(
        footprint,
        totals=replace(count_totals(files), packed=packed_total),
        sections=(
            *sum_by_owner(files, lambda row: row.section, _list_sections(files)),
            *overhead_rows,
        ),
        components=(*sum_by_owner(files, lambda row: row.component), *overhead_rows),
        packages=tuple(
            PackageRow(row.name, versions.get(row.name, ""), row.files, row.bytes, row.packed)
            for row in (*sum_by_owner(files, lambda row: row.package), *overhead_rows)
        ),
    )


def _list_sections(files: Iterable[FileRow]) -> list[str]:
    """The sections of a report in their order; that of hardware where a host has some."""
    present = {row.section for row in files}
    return [str(one) for one in Section if one is not Section.HARDWARE or one in present]


def manifest_limits(manifest: Manifest) -> dict[str, Limit]:
    """The limits that a manifest sets, sorted by name; none of what is packed in another way."""
    excluded = {"packed"} if manifest.image.overridden_compression is not None else set()
    return {
        name: limit
        for name, limit in list_limits(manifest.budget.totals).items()
        if name not in excluded
    }


def count_totals(files: Iterable[FileRow]) -> Totals:
    """Files, links and directories, and bytes of files; a hard link weighs nothing again."""
    types = Counter(row.type for row in files)
    return Totals(
        files=types[FileType.FILE],
        links=types[FileType.LINK] + types[FileType.HARDLINK],
        directories=types[FileType.DIRECTORY],
        bytes=sum(weigh_row(row) for row in files),
        packed=0,
    )


def weigh_row(row: FileRow) -> int:
    """The bytes that a path adds: a file's size; nothing for another name of the same file."""
    return row.size if row.type == FileType.FILE else 0


def sum_by_owner(
    files: Iterable[FileRow], owner: Callable[[FileRow], str], order: Sequence[str] = ()
) -> tuple[OwnerRow, ...]:
    """Sum files by owner: in the order given, then by name; every one of `order` has a row."""
    sums: dict[str, list[int]] = {name: [0, 0, 0] for name in order}
    for row in files:
        total = sums.setdefault(owner(row), [0, 0, 0])
        total[0] += row.type == FileType.FILE
        total[1] += weigh_row(row)
        total[2] += row.packed
    names = [*order, *sorted(sums.keys() - set(order))]
    return tuple(OwnerRow(name, *sums[name]) for name in names)


def make_file_row(node: RootfsNode, share: int = 0) -> FileRow:
    """One path of a tree as the footprint says it; `share` is what it adds to the image."""
    return FileRow(
        path=node.path,
        type=str(node.kind),
        mode=node.mode,
        uid=node.uid,
        gid=node.gid,
        size=node.size,
        sha256=node.sha256,
        target=node.target,
        package=node.package,
        component=node.component,
        section=node.section,
        packed=share,
    )


def _share_out(tree: RootfsTree, initramfs: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Share the initramfs's bytes out by weight; the parts sum to it exactly."""
    shares = {node.path: 0 for node in tree.nodes}
    packed = [
        node for node in tree.nodes if node.kind is FileType.FILE and not tree.is_boot_image(node)
    ]
    total = sum(weights[node.sha256] for node in packed)
    weight_sum = previous_end = 0
    for node in packed:
        weight_sum += weights[node.sha256]
        end = initramfs * weight_sum // total
        shares[node.path] = end - previous_end
        previous_end = end
    for node in tree.nodes:
        if tree.is_boot_image(node):
            shares[node.path] = node.size
    return {str(path): share for path, share in shares.items()}


SOLID_XZ = 0.87
"""Of what a file weighs alone (x86 filter, LZMA2 preset 0), what it weighs packed with others."""
SOLID_ZLIB = 0.68
"""The same of zlib -1, which is quicker and less like xz: for trees of others."""
INCOMPRESSIBLE_RATIO = 0.97
"""From this ratio on, a file is packed already and weighs what it is."""


def estimate_compressed(compressed: int, size: int, solid: float = SOLID_ZLIB) -> int:
    """Bytes in a solid archive of a file of `size` bytes that is `compressed` alone."""
    return size if compressed > INCOMPRESSIBLE_RATIO * size else round(solid * compressed)
