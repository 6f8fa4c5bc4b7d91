"""How a tree and its images become a footprint: every byte has one owner."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from minbuild.archive.types import Package
from minbuild.facts.types import Kind
from minbuild.footprint.types import OVERHEAD, FileRow, Footprint, PackageRow, Row, Totals
from minbuild.manifest.types import Manifest, Section
from minbuild.tree.types import Node, Tree


def measure(
    manifest: Manifest,
    tree: Tree,
    packages: Sequence[Package],
    *,
    initramfs: int,
    packed: Mapping[str, int],
    weights: Mapping[str, int],
) -> Footprint:
    """Measure an image.

    `initramfs` is its packed size; `packed` the size of each image by format, "efi" the one that
    boots; `weights` a compressed size for each content digest, by which the initramfs's bytes are
    shared out among its files.
    """
    shares = _shares(tree, initramfs, weights)
    files = tuple(_file(node, shares[node.path]) for node in tree.nodes)
    boots = packed.get("efi") or sum(row.packed for row in files)
    rest = Row(OVERHEAD, 0, 0, boots - sum(row.packed for row in files))
    order = [*(str(section) for section in Section)]
    versions = {package.name: package.version for package in packages}
    return Footprint(
        name=manifest.name,
        arch=manifest.arch,
        kernel=tree.release,
        suites=manifest.archive.suites,
        packed=dict(sorted(packed.items())),
        totals=Totals(
            files=sum(row.type == Kind.FILE for row in files),
            links=sum(row.type in {Kind.LINK, Kind.HARDLINK} for row in files),
            directories=sum(row.type == Kind.DIRECTORY for row in files),
            bytes=sum(row.size for row in files),
            packed=boots,
        ),
        sections=(*rows(files, lambda row: row.section, order), rest),
        components=(*rows(files, lambda row: row.component), rest),
        packages=tuple(
            PackageRow(row.name, versions.get(row.name, ""), row.files, row.bytes, row.packed)
            for row in (*rows(files, lambda row: row.package), rest)
        ),
        files=files,
        edges=tree.needs,
    )


def rows(
    files: Iterable[FileRow], owner: Callable[[FileRow], str], order: Sequence[str] = ()
) -> tuple[Row, ...]:
    """Sum files by owner: in the order given, then by name; every one of `order` has a row."""
    sums: dict[str, list[int]] = {name: [0, 0, 0] for name in order}
    for row in files:
        total = sums.setdefault(owner(row), [0, 0, 0])
        total[0] += row.type == Kind.FILE
        total[1] += row.size
        total[2] += row.packed
    names = [*order, *sorted(sums.keys() - set(order))]
    return tuple(Row(name, *sums[name]) for name in names)


def _file(node: Node, share: int) -> FileRow:
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
    packed = [node for node in tree.nodes if node.sha256 and node.path != tree.kernel]
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
