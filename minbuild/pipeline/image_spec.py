"""Image settings of a resolved host: command lines, os-release, seed of identifiers."""

import hashlib

from minbuild.image.write import ImageSpec
from minbuild.manifest.kernel_cmdline import join_cmdline
from minbuild.manifest.model import Manifest
from minbuild.pipeline.resolved_host import ResolvedHost
from minbuild.rootfs.model import RootfsTree


def build_cmdline(manifest: Manifest) -> str:
    """The kernel's command line: the components' words, then the manifest's, since the last counts.

    Source: Linux, Documentation/admin-guide/kernel-parameters.rst.
    """
    return join_cmdline(*(part.cmdline for part in manifest.components), manifest.kernel.cmdline)


def build_xen_cmdline(manifest: Manifest) -> str:
    """Xen's own command line, in the same order.

    Microcode lies before the initramfs, where Xen looks for it when it is told so.
    Source: Xen, docs/misc/xen-command-line.pandoc, "ucode (x86)".
    """
    has_microcode = any(part.microcode for part in manifest.components)
    return join_cmdline(("ucode=scan",) if has_microcode else (), *list_xen_words(manifest))


def list_xen_words(manifest: Manifest) -> tuple[tuple[str, ...], ...]:
    """What components and manifest ask of Xen."""
    return (*(part.xen_cmdline for part in manifest.components), manifest.kernel.xen_cmdline)


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
    text = (
        f'ID=minbuild\nNAME="{_quote_value(manifest.name)}"\nPRETTY_NAME="{_quote_value(title)}"\n'
    )
    version = manifest.image.disk.version
    if version is not None:  # by these systemd-boot tells which one is newer
        text += f'IMAGE_ID="{_quote_value(manifest.name)}"\nIMAGE_VERSION="{version}"\n'
    return text.encode()


def _quote_value(text: str) -> str:
    for special in '\\"$`':
        text = text.replace(special, f"\\{special}")
    return " ".join(text.split())
