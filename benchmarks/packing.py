"""Our segments against the best solid xz of the same files."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.ours import Workspace
from minbuild.image import initramfs_segments, tar_cpio
from minbuild.image.initramfs_segments import compute_xz_dictionary_size
from minbuild.manifest.image_settings import Compression
from minbuild.manifest.shipped_manifests import find_manifest
from minbuild.pipeline import build
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.pipeline.tool_setup import open_toolbox
from minbuild.progress import SilentProgress

SOLID = (
    ("--x86", "--lzma2=preset=9e,dict={size}"),
    ("--x86", "--lzma2=preset=9e,lc=4,pb=0,dict={size}"),
    ("--x86", "--lzma2=mode=normal,mf=bt4,nice=273,lc=4,depth=512,dict={size}"),
)
"""Settings of xz, of which the smallest result counts."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of one initramfs packed in two ways."""

    segments: int
    parts: int
    """How many segments."""
    solid: int
    best: str
    """The settings that gave `solid`."""

    @property
    def more(self) -> float:
        """What segments cost, of 1."""
        return self.segments / self.solid - 1


def measure_sizes(workspace: Workspace) -> Sizes:
    """Pack host.yaml's initramfs both ways."""
    session = Session(workspace.store, SilentProgress())
    request = BuildRequest(find_manifest("host.yaml"), lock=Path(workspace.directory / "host.lock"))
    planned = build.plan_build(request, session)
    toolbox = open_toolbox(request, planned.resolved.lock, session)
    tree = planned.tree
    ours = initramfs_segments.pack_initramfs(
        tree, session.store, toolbox, Compression.XZ, arch="amd64", progress=SilentProgress()
    )
    nodes = [node for node in tree.nodes if node.path != tree.kernel_image]
    whole = tar_cpio.encode_cpio(nodes, session.store.require)
    result = {}
    for settings in SOLID:
        args = [word.format(size=compute_xz_dictionary_size(len(whole))) for word in settings]
        argv = ["--format=xz", "--check=crc32", "--stdout", *args]
        packed = toolbox.run("xz", argv, purpose="packing all files at once", stdin=whole)
        result[" ".join(args)] = len(packed)
    best = min(result, key=lambda name: result[name])
    return Sizes(sum(one.size for one in ours), len(ours), result[best], best)
