"""How a tree and its images become a footprint: every byte has one owner."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from minbuild.archive.types import Package
from minbuild.facts.types import Kind
from minbuild.footprint.types import (
    OVERHEAD,
    FileRow,
    Footprint,
    Inputs,
    PackageRow,
    ProbeRow,
    Row,
    Surface,
    Totals,
    Waived,
)
from minbuild.manifest.limits import Limit, limits_set
from minbuild.manifest.types import Manifest, Section
from minbuild.resolve.place import place
from minbuild.tree.types import Node, Tree

NOTHING = Totals(0, 0, 0, 0, 0)


def measure(
    manifest: Manifest,
    tree: Tree,
    packages: Sequence[Package],
    *,
    initramfs: int,
    packed: Mapping[str, int],
    weights: Mapping[str, int],
    surface: Surface | None = None,
    inputs: Inputs | None = None,
) -> Footprint:
    """Measure an image.

    `initramfs` is its packed size; `packed` the size of each image by format, "efi" the one that
    boots; `weights` a compressed size for each content digest, by which the initramfs's bytes are
    shared out among its files.
    """
    shares = _shares(tree, initramfs, weights)
    files = tuple(file_row(node, shares[node.path]) for node in tree.nodes)
    return add_up(
        Footprint(
            name=manifest.name,
            arch=manifest.arch,
            kernel=tree.release,
            suites=manifest.archive.suites,
            packed=dict(sorted(packed.items())),
            totals=NOTHING,
            sections=(),
            components=(),
            packages=(),
            files=files,
            edges=tree.needs,
            budget={name: limit.value for name, limit in limits(manifest).items()},
            places={name: place(limit.where) for name, limit in limits(manifest).items()},
            surface=surface,
            possible=tree.maybe_dlopen,
            listed=tree.possible,
            cautions=tree.cautions,
            waivers=tuple(_waived(manifest)),
            probes=probe_rows(manifest),
            inputs=inputs,
        ),
        {package.name: package.version for package in packages},
        {OVERHEAD: packed["efi"] - sum(row.packed for row in files) if "efi" in packed else 0},
    )


def _waived(manifest: Manifest) -> Iterator[Waived]:
    for kind, lines in (("drop", manifest.drop), ("allow-missing", manifest.allow_missing)):
        for line in lines:
            yield Waived(kind, line.path, line.because, place(line.where))


def probe_rows(manifest: Manifest) -> tuple[ProbeRow, ...]:
    """List what the manifest's components have the lab ask."""
    return tuple(
        ProbeRow(
            one.name, one.console, one.limit, one.means,
            one.lease, one.lookup, one.tcp, one.to, one.says, place(one.where),
        )
        for component in manifest.components
        for one in (*([component.probe] if component.probe else ()), *component.probes)
    )  # fmt: skip


def add_up(
    footprint: Footprint, versions: Mapping[str, str], overhead: Mapping[str, int]
) -> Footprint:
    """Fill a footprint's totals and tables in from its files.

    `overhead` is what is packed of no file: a row of every table for each, in the order given.
    """
    files = footprint.files
    rest = tuple(Row(name, 0, 0, size) for name, size in overhead.items())
    boots = sum(row.packed for row in files) + sum(overhead.values())
    return replace(
        footprint,
        totals=replace(counts(files), packed=boots),
        sections=(*rows(files, lambda row: row.section, [str(one) for one in Section]), *rest),
        components=(*rows(files, lambda row: row.component), *rest),
        packages=tuple(
            PackageRow(row.name, versions.get(row.name, ""), row.files, row.bytes, row.packed)
            for row in (*rows(files, lambda row: row.package), *rest)
        ),
    )


def limits(manifest: Manifest) -> dict[str, Limit]:
    """The limits that a manifest sets, sorted by name; none of what is packed in another way."""
    other = {"packed"} if manifest.image.instead_of is not None else set()
    return {
        name: limit
        for name, limit in limits_set(manifest.budget.totals).items()
        if name not in other
    }


def counts(files: Iterable[FileRow]) -> Totals:
    """Files, links and directories, and bytes of files; a hard link weighs nothing again."""
    types = Counter(row.type for row in files)
    return Totals(
        files=types[Kind.FILE],
        links=types[Kind.LINK] + types[Kind.HARDLINK],
        directories=types[Kind.DIRECTORY],
        bytes=sum(weight(row) for row in files),
        packed=0,
    )


def weight(row: FileRow) -> int:
    """The bytes that a path adds: a file's size; nothing for another name of the same file."""
    return row.size if row.type == Kind.FILE else 0


def rows(
    files: Iterable[FileRow], owner: Callable[[FileRow], str], order: Sequence[str] = ()
) -> tuple[Row, ...]:
    """Sum files by owner: in the order given, then by name; every one of `order` has a row."""
    sums: dict[str, list[int]] = {name: [0, 0, 0] for name in order}
    for row in files:
        total = sums.setdefault(owner(row), [0, 0, 0])
        total[0] += row.type == Kind.FILE
        total[1] += weight(row)
        total[2] += row.packed
    names = [*order, *sorted(sums.keys() - set(order))]
    return tuple(Row(name, *sums[name]) for name in names)


def file_row(node: Node, share: int = 0) -> FileRow:
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


def _shares(tree: Tree, initramfs: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Share the initramfs's bytes out by weight; the parts sum to it exactly."""
    shares = {node.path: 0 for node in tree.nodes}
    packed = [node for node in tree.nodes if node.kind is Kind.FILE and node.path != tree.kernel]
    total = sum(weights[node.sha256] for node in packed)
    given = before = 0
    for node in packed:
        given += weights[node.sha256]
        upto = initramfs * given // total
        shares[node.path] = upto - before
        before = upto
    for node in tree.nodes:
        if node.path == tree.kernel:
            shares[node.path] = node.size
    return {str(path): share for path, share in shares.items()}
