"""From a proved tree to the files in the output directory: images, footprint, lock, sums."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from minbuild.archive import lockfile
from minbuild.footprint import document
from minbuild.footprint.measure import measure_image
from minbuild.footprint.model import Footprint
from minbuild.image.publish import Outputs
from minbuild.image.write import ImageSpec, WrittenImages, write_images
from minbuild.manifest.model import Manifest
from minbuild.pipeline import lock_policy
from minbuild.pipeline.attestation import collect_inputs
from minbuild.pipeline.dib_bridge import add_dib_images
from minbuild.pipeline.measurement import analyse_surface, weigh_contents
from minbuild.pipeline.resolved_host import ResolvedHost
from minbuild.pipeline.rootfs_checks import build_cmdline
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.rootfs.model import RootfsTree
from minbuild.toolbox.toolbox import Toolbox


def write_host_outputs(
    request: BuildRequest,
    resolved: ResolvedHost,
    tree: RootfsTree,
    toolbox: Toolbox,
    directory: Path,
    session: Session,
) -> tuple[Footprint, tuple[Path, ...]]:
    """Write every output of a build to `directory`, all or none; returns them with the footprint.

    Raises: ToolError when a tool fails or the directory cannot be written.
    """
    manifest = resolved.manifest
    lock_text = lockfile.render_lock(resolved.lock)
    lock_policy.record_used_lock(lock_text.encode(), session.store)
    session.progress.step(f"packing {manifest.name}")
    footprints: list[Footprint] = []
    surface = analyse_surface(resolved, tree, build_cmdline(manifest), session.store)

    def render_extra_files(images: WrittenImages) -> Mapping[str, bytes]:
        footprint = measure_image(
            manifest,
            tree,
            resolved.lock.packages,
            initramfs=images.initramfs_size,
            packed=images.image_sizes,
            weights=weigh_contents(tree, session.store),
            surface=surface,
            inputs=collect_inputs(request, manifest),
        )
        footprints.append(footprint)
        return {
            "footprint.json": document.render_footprint(footprint).encode(),
            f"{manifest.name}.lock": lock_text.encode(),
        }

    def add_last_outputs(outputs: Outputs) -> None:
        add_dib_images(request, manifest, tree, outputs, session)

    spec = ImageSpec(
        name=manifest.name,
        arch=manifest.arch,
        tree=tree,
        cmdline=build_cmdline(manifest),
        osrel=render_os_release(manifest),
        formats=manifest.image.formats,
        compression=manifest.image.compression,
        seed=hashlib.sha256(lock_text.encode()).hexdigest(),
        disk=manifest.image.disk,
        sign=manifest.image.sign,
    )
    outputs = write_images(
        spec, directory, render_extra_files, store=session.store, toolbox=toolbox, progress=session.progress,
        after_images=add_last_outputs,
    )  # fmt: skip
    return footprints[0], outputs


def render_os_release(manifest: Manifest) -> bytes:
    """What a boot menu shows of the image. Source: os-release(5)."""
    title = manifest.summary or manifest.name
    return (
        f'ID=minbuild\nNAME="{_quote_value(manifest.name)}"\nPRETTY_NAME="{_quote_value(title)}"\n'
    ).encode()


def _quote_value(text: str) -> str:
    for special in '\\"$`':
        text = text.replace(special, f"\\{special}")
    return " ".join(text.split())
