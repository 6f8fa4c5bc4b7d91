"""The files of the running host, each with its content's digest and its owner."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from minbuild.facts.types import Kind
from minbuild.paths import RootPath
from minbuild.resolve.types import Caution, Need, Possible


@dataclass(frozen=True, slots=True)
class Node:
    """One path of the tree."""

    path: RootPath
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    sha256: str
    """Content, which the store holds; "" for links and directories."""
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
class Tree:
    nodes: tuple[Node, ...]
    """Sorted by path; a directory stands before what it holds."""
    needs: tuple[Need, ...]
    """Every edge of the closure and those of generated files, sorted."""
    kernel: RootPath
    """The kernel image: counted in the footprint, held by the UKI and not by the initramfs."""
    release: str
    """Kernel version, as uname -r says it."""
    possible: tuple[Possible, ...] = ()
    """Files that rules list and that nobody asked for; sorted."""
    cautions: tuple[Caution, ...] = ()
    """Commands of scripts that the image has not; sorted."""
    maybe_dlopen: Mapping[RootPath, tuple[str, ...]] = field(default_factory=dict)
    """Libraries that a file's strings name, and that no need and no note explains; sorted."""
    unpacked: tuple[RootPath, ...] = ()
    """Modules that their packages have packed, and the tree has not; sorted."""
