"""Image settings of a resolved host: command line, os-release, seed of identifiers."""

import hashlib

from minbuild.image.write import ImageSpec
from minbuild.manifest.model import Manifest
from minbuild.pipeline.resolved_host import ResolvedHost
from minbuild.pipeline.rootfs_checks import build_cmdline, build_xen_cmdline
from minbuild.rootfs.model import RootfsTree


def make_image_spec(resolved: ResolvedHost, tree: RootfsTree, lock_text: str) -> ImageSpec:
    """Say what is to be written; identifiers in images follow from the text of the lock."""
    manifest = resolved.manifest
    return ImageSpec(
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
        xen_cmdline=build_xen_cmdline(manifest),
    )


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
