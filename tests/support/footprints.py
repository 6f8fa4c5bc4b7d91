"""A small tree and its footprint, for tests of what is measured and reported."""

from minbuild.archive.types import Package
from minbuild.facts.types import Kind
from minbuild.footprint.measure import measure
from minbuild.footprint.types import Footprint
from minbuild.manifest.types import Archive, Budget, ImageWish, Kernel, Manifest, Where
from minbuild.paths import RootPath
from minbuild.resolve.types import Need, NeedKind
from minbuild.tree.types import Node, Tree

HERE = Where("host.yaml", 1, 1)
KERNEL = RootPath("/boot/vmlinuz-6.1")

MANIFEST = Manifest(
    name="tiny",
    summary="",
    arch="amd64",
    file="host.yaml",
    archive=Archive(suites=("trixie",)),
    variables={},
    kernel=Kernel("linux-image-cloud-amd64", (), HERE),
    components=(),
    drop=(),
    allow_missing=(),
    image=ImageWish(),
    budget=Budget(),
)
PACKAGES = (
    Package("busybox", "1.37", "amd64", "debian", "pool/b.deb", 10, "b" * 64),
    Package("linux-image", "6.1", "amd64", "debian", "pool/l.deb", 10, "a" * 64),
)


def node(path: str, size: int, package: str, component: str, kind: Kind = Kind.FILE) -> Node:
    """One node; a file's digest is made of its path."""
    digest = path.encode().hex()[-64:].rjust(64, "0") if kind is Kind.FILE else ""
    target = "busybox" if kind is Kind.LINK else ""
    return Node(RootPath(path), kind, 0o755, 0, 0, size, digest, target, package, component)


TREE = Tree(
    nodes=(
        node(KERNEL, 1_000_000, "linux-image", "kernel/kvm"),
        node("/etc/inittab", 100, "", "boot/init"),
        node("/usr", 0, "busybox", "boot/init", Kind.DIRECTORY),
        node("/usr/bin/busybox", 700_000, "busybox", "boot/init"),
        node("/usr/bin/sh", 0, "", "boot/init", Kind.LINK),
        node("/usr/bin/vm", 3_000, "", "hypervisor/qemu-microvm"),
    ),
    needs=(
        Need(KERNEL, "kernel/kvm", NeedKind.ROOT, "host.yaml:2:1"),
        Need(RootPath("/etc/inittab"), "boot/init", NeedKind.ROOT, "init.yaml:3:3"),
        Need(RootPath("/usr/bin/busybox"), "/usr/bin/sh", NeedKind.LINK, "-> busybox"),
        Need(RootPath("/usr/bin/busybox"), "boot/init", NeedKind.ROOT, "init.yaml:9:3"),
        Need(RootPath("/usr/bin/sh"), "/usr/bin/vm", NeedKind.SHEBANG, "#!/bin/sh"),
        Need(RootPath("/usr/bin/vm"), "hypervisor/qemu-microvm", NeedKind.ROOT, "qemu.yaml:4:3"),
    ),
    kernel=KERNEL,
    release="6.1",
)


def tiny() -> Footprint:
    """The footprint of the small tree: 1,000,000 of kernel, 300,007 of initramfs, 5,000 else."""
    weights = {one.sha256: one.size // 2 + 1 for one in TREE.nodes if one.sha256}
    return measure(
        MANIFEST, TREE, PACKAGES, initramfs=300_007, packed={"raw": 4_000_000, "efi": 1_305_007},
        weights=weights,
    )  # fmt: skip
