"""A small tree and its footprint, for tests of what is measured and reported."""

from collections.abc import Mapping, Sequence

from minbuild.archive.model import Package
from minbuild.footprint.measure import measure_image
from minbuild.footprint.model import Footprint
from minbuild.formats.root_entry import FileType
from minbuild.manifest.image_settings import ImageSettings
from minbuild.manifest.model import Archive, Budget, KernelSettings, Location, Manifest
from minbuild.paths import RootPath
from minbuild.resolve.model import Need, NeedKind
from minbuild.rootfs.model import RootfsNode, RootfsTree

HERE = Location("host.yaml", 1, 1)
KERNEL = RootPath("/boot/vmlinuz-6.1")

MANIFEST = Manifest(
    name="tiny",
    summary="",
    arch="amd64",
    file="host.yaml",
    archive=Archive(suites=("trixie",)),
    variables={},
    kernel=KernelSettings("linux-image-cloud-amd64", (), HERE),
    components=(),
    drop=(),
    allow_missing=(),
    image=ImageSettings(),
    budget=Budget(),
)
PACKAGES = (
    Package("busybox", "1.37", "amd64", "debian", "pool/b.deb", 10, "b" * 64),
    Package("linux-image", "6.1", "amd64", "debian", "pool/l.deb", 10, "a" * 64),
)


def node(
    path: str, size: int, package: str, component: str, kind: FileType = FileType.FILE
) -> RootfsNode:
    """One node; a file's digest is made of its path."""
    digest = path.encode().hex()[-64:].rjust(64, "0") if kind is FileType.FILE else ""
    target = "busybox" if kind is FileType.LINK else ""
    return RootfsNode(RootPath(path), kind, 0o755, 0, 0, size, digest, target, package, component)


TREE = RootfsTree(
    nodes=(
        node(KERNEL, 1_000_000, "linux-image", "kernel/kvm"),
        node("/etc/inittab", 100, "", "boot/init"),
        node("/usr", 0, "busybox", "boot/init", FileType.DIRECTORY),
        node("/usr/bin/busybox", 700_000, "busybox", "boot/init"),
        node("/usr/bin/sh", 0, "", "boot/init", FileType.LINK),
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
    kernel_image=KERNEL,
    kernel_release="6.1",
)


def tiny() -> Footprint:
    """The footprint of the small tree: 1,000,000 of kernel, 300,007 of initramfs, 5,000 else."""
    weights = {one.sha256: one.size // 2 + 1 for one in TREE.nodes if one.sha256}
    return measure_image(
        MANIFEST, TREE, PACKAGES, initramfs=300_007, packed={"raw": 4_000_000, "efi": 1_305_007},
        weights=weights,
    )  # fmt: skip


def find_reached_paths(edges: Sequence[Mapping[str, str]]) -> set[str]:
    """The paths that a component leads to, by the edges of a footprint document."""
    reached: set[str] = set()
    todo = [edge["to"] for edge in edges if not edge["from"].startswith("/")]
    below: dict[str, list[str]] = {}
    for edge in edges:
        below.setdefault(edge["from"], []).append(edge["to"])
    while todo:
        path = todo.pop()
        if path not in reached:
            reached.add(path)
            todo += below.get(path, [])
    return reached
