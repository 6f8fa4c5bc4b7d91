"""Nodes of the root file system, each with the digest of its content and its owner."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath
from minbuild.resolve.model import Need, OptionalFile, ScriptWarning


@dataclass(frozen=True, slots=True)
class RootfsNode:
    """One path of the tree."""

    path: RootPath
    kind: FileType
    mode: int
    uid: int
    gid: int
    size: int
    sha256: str
    """Content in the store; "" for links and directories."""
    target: str
    """A link's text; a hard link's first name."""
    package: str
    """"" for rendered and generated files."""
    component: str
    """section/name."""
    capability: str = ""
    """Hex of a file's security.capability."""

    @property
    def section(self) -> str:
        return self.component.partition("/")[0]


@dataclass(frozen=True, slots=True)
class RootfsTree:
    nodes: tuple[RootfsNode, ...]
    """Sorted by path; a directory comes before its entries."""
    needs: tuple[Need, ...]
    """Every edge of the closure and those of generated files, sorted."""
    kernel_image: RootPath
    """The kernel image: counted in the footprint, held by the UKI and not by the initramfs."""
    kernel_release: str
    """Kernel version, as uname -r says it."""
    hypervisor_image: RootPath | None = None
    """Xen, which starts the kernel, as it lies in the image: counted like the kernel; None for none."""
    optional_files: tuple[OptionalFile, ...] = ()
    """Files that rules only recommend or suggest; sorted."""
    script_warnings: tuple[ScriptWarning, ...] = ()
    """Commands of scripts that the image has not; sorted."""
    unexplained_sonames: Mapping[RootPath, tuple[str, ...]] = field(default_factory=dict)
    """Libraries that a file's strings name, and that no need and no note explains; sorted."""
    decompressed_modules: tuple[RootPath, ...] = ()
    """Modules that their packages have packed, and the tree has not; sorted."""

    def is_boot_image(self, node: RootfsNode) -> bool:
        """Whether a node lies beside the initramfs and not in it: the kernel, and Xen."""
        return node.path in (self.kernel_image, self.hypervisor_image)
