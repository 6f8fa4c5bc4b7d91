"""Tree of a resolved host, and notes on what an image of it lacks."""

from minbuild.explain.providers import find_command_packages
from minbuild.manifest.image_settings import ImageFormat
from minbuild.manifest.model import Manifest
from minbuild.pipeline.modaliases import explain_missing_drivers
from minbuild.pipeline.named_paths import with_named_paths
from minbuild.pipeline.resolved_host import ResolvedHost, extract_chosen_files
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.pipeline.shell_check import with_script_warnings
from minbuild.rootfs.assemble import DECOMPRESS_REASON, make_rootfs
from minbuild.rootfs.model import RootfsTree


def assemble_rootfs(request: BuildRequest, resolved: ResolvedHost, session: Session) -> RootfsTree:
    """Bring the contents of a closure into the store and make its tree."""
    extract_chosen_files(request, resolved.lock.packages, resolved.closure.files.values(), session)
    tree = make_rootfs(resolved.manifest, resolved.closure, resolved.files, session.store)
    tree = with_named_paths(tree, resolved.files, session.store)
    if tree.decompressed_modules:
        session.progress.note(
            f"modules unpacked: {len(tree.decompressed_modules)}, since {DECOMPRESS_REASON}"
        )
    _report_lost_capabilities(tree, resolved.manifest, session)
    _report_missing_drivers(resolved, session)
    tree = with_script_warnings(tree, resolved.manifest, session.store)
    if tree.script_warnings:
        lock = resolved.lock
        owners = find_command_packages(tree.script_warnings, lock.suites, lock.arch, session.store)
        for name, packages in owners.items():
            session.progress.note(f"the command {name} is in the package {packages}")
    return tree


def _report_missing_drivers(resolved: ResolvedHost, session: Session) -> None:
    names = [name for part in resolved.manifest.components for name in part.hardware]
    if names:
        for text in explain_missing_drivers(
            names, resolved.closure.skipped_softdeps, resolved.closure.kernel_release
        ):
            session.progress.note(text)


def _report_lost_capabilities(tree: RootfsTree, manifest: Manifest, session: Session) -> None:
    """Name the files whose capabilities an initramfs cannot hold. Source: cpio's newc has no place."""
    paths = [str(node.path) for node in tree.nodes if node.capability]
    formats = [str(one) for one in manifest.image.formats if one is not ImageFormat.TAR]
    if paths and formats:
        session.progress.note(
            f"{', '.join(formats)}: an initramfs cannot hold file capabilities, and these have "
            f"some: {', '.join(paths)}"
        )
