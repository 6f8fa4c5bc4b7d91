"""Trimming an installed root to what a manifest needs, in place."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import ToolError, UsageError
from minbuild.explain.why import explain
from minbuild.file_io import write_atomic
from minbuild.footprint import document
from minbuild.footprint.measure import measure_image
from minbuild.footprint.model import Footprint
from minbuild.formats.root_entry import FileType, RootEntry
from minbuild.paths import USRMERGED, RootPath, to_host_path, unescape_name
from minbuild.pipeline.installed_root import make_external_readers, resolve_root_packages
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.resolved_host import estimate_initramfs, weigh_contents
from minbuild.pipeline.rootfs_checks import verify_closed_world
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.pipeline.shell_check import with_script_warnings
from minbuild.report import needs
from minbuild.rootfs.assemble import make_rootfs
from minbuild.rootfs.model import RootfsNode, RootfsTree
from minbuild.roots.directory import Directory
from minbuild.roots.root_packages import RootPackages


@dataclass(frozen=True, slots=True)
class TrimPlan:
    """The way from a root to a tree."""

    remove: tuple[str, ...]
    """Raw paths, what a directory holds before the directory."""
    add: tuple[RootfsNode, ...]
    """What the root has not, or not so; a directory before what it holds."""


def plan_trim(
    entries: Mapping[RootPath, RootEntry],
    native_paths: Iterable[str],
    tree: RootfsTree,
    keep: Sequence[str],
) -> TrimPlan:
    """Say what is to go and what is to come.

    `found`: the root's paths that the tree was resolved from; `raw`: all of its paths; `keep`:
    directories that stay with all they hold, relative to the top.
    """
    remaining: set[str] = set()
    added: list[RootfsNode] = []
    for node in tree.nodes:
        entry = entries.get(node.path)
        if entry is not None and (node.package or _is_present(entry, node)):
            remaining.add(entry.native_path)
        else:
            added.append(node)
    for name in native_paths:
        if any(f"{name}/".startswith(f"{each}/") for each in keep):
            remaining.add(name)
    for name in list(remaining):
        parts = name.split("/")
        remaining.update("/".join(parts[:count]) for count in range(1, len(parts)))
    removed = [name for name in native_paths if name not in remaining]
    return TrimPlan(tuple(sorted(removed, reverse=True)), tuple(added))


def _is_present(entry: RootEntry, node: RootfsNode) -> bool:
    """Tell that a made directory or merged-/usr link is there already."""
    if entry.kind is FileType.DIRECTORY:
        return node.kind is FileType.DIRECTORY or entry.native_path in USRMERGED
    return (
        entry.kind is FileType.LINK and node.kind is FileType.LINK and entry.target == node.target
    )


def apply_trim(top: Path, trim_plan: TrimPlan, content: Callable[[str], bytes]) -> None:
    """Cut the root below `top` in place; what is mounted on it stays.

    Raises: ToolError when something cannot be removed or written.
    """
    try:
        for name in trim_plan.remove:
            _remove_path(top / name)
        for node in trim_plan.add:
            _write_node(top, node, content)
    except OSError as error:
        raise ToolError(
            f"the root cannot be trimmed: {error.strerror}",
            where=str(error.filename or top),
            fix="trim as the owner of its files: as root, or below sudo",
        ) from error


def _remove_path(path: Path) -> None:
    mode = path.lstat().st_mode
    if not stat.S_ISDIR(mode):
        path.unlink()
        return
    try:
        path.rmdir()
    except OSError as error:
        # a mount point, or a directory that holds a device or a socket
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise


def _write_node(top: Path, node: RootfsNode, content: Callable[[str], bytes]) -> None:
    path = _resolve_target(top, node)
    if node.kind is not FileType.DIRECTORY:
        path.unlink(missing_ok=True)
    match node.kind:
        case FileType.DIRECTORY:
            path.mkdir(exist_ok=True)
        case FileType.LINK:
            path.symlink_to(os.fsdecode(unescape_name(node.target)))
        case FileType.HARDLINK:
            os.link(to_host_path(top, RootPath(node.target)), path)
        case FileType.FILE:
            path.write_bytes(content(node.sha256))
        case FileType.OTHER:
            raise ValueError(node)  # an image of ours holds none
    if os.geteuid() == 0:  # else all of the root is the user's, and so is this
        os.chown(path, node.uid, node.gid, follow_symlinks=False)
    if node.kind is not FileType.LINK:
        path.chmod(node.mode)


def _resolve_target(top: Path, node: RootfsNode) -> Path:
    """Where a node is written. Raises: ToolError where a link would lead elsewhere."""
    path = top
    for part in os.fsdecode(unescape_name(node.path)).strip("/").split("/")[:-1]:
        path /= part
        if path.is_symlink():
            raise ToolError(
                "the root has a link where the host needs a directory",
                where=str(path),
                fix="install that root with merged /usr, or change the path in the manifest",
            )
        if not path.exists():
            path.mkdir()
    return path / os.fsdecode(unescape_name(node.path.rpartition("/")[2]))


@dataclass(frozen=True, slots=True)
class TrimResult:
    """A root before and after."""

    files: int
    """Regular files before."""
    bytes: int
    footprint: Footprint
    removed: int
    """Paths that went."""


def trim_root(
    top: Path,
    request: BuildRequest,
    session: Session,
    *,
    keep: Sequence[str],
    dry_run: bool = False,
) -> TrimResult:
    """Remove from the root at `top` all that the manifest does not need, and add what it makes.

    `keep`: directories below it that stay as they are. `dry`: nothing is changed.
    Raises: UsageError for this machine's own root; ResolveError when the root lacks something.
    """
    if not top.is_dir() or top.resolve() == Path("/"):
        raise UsageError(
            "this is no root that may be trimmed", where=str(top),
            fix="name the top of another root: a directory",
        )  # fmt: skip
    manifest = load_manifest(request, session)
    rpm = make_external_readers(session, request).rpm
    root_packages = RootPackages(Directory(top), use_database=manifest.archive.owners, rpm=rpm)
    resolved = resolve_root_packages(manifest, root_packages, session)
    tree = make_rootfs(manifest, resolved.closure, resolved.files, session.store)
    verify_closed_world(resolved, tree, session)
    tree = with_script_warnings(tree, manifest, session.store)
    weights = weigh_contents(tree, session.store)
    packed = estimate_initramfs(tree, weights)
    footprint = measure_image(
        manifest, tree, resolved.lock.packages, initramfs=packed, packed={}, weights=weights
    )
    kept = [name.strip("/") for name in keep]
    trim_plan = plan_trim(root_packages.by_image_path, root_packages.by_native_path, tree, kept)
    if not dry_run:
        session.progress.step(f"trimming {top}")
        apply_trim(top, trim_plan, session.store.require)
    regular_files = [
        entry for entry in root_packages.by_native_path.values() if entry.kind is FileType.FILE
    ]
    size = sum(entry.size for entry in regular_files)
    return TrimResult(len(regular_files), size, footprint, len(trim_plan.remove))


def write_reports(result: TrimResult, directory: Path) -> tuple[Path, ...]:
    """Write footprint.json and why.txt, the chain of needs of every path, to a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    footprint = result.footprint
    chains = [
        needs.render_explanation(explain(footprint, row.path, all_chains=False))
        for row in footprint.files
    ]
    texts = {"footprint.json": document.render_footprint(footprint), "why.txt": "\n".join(chains)}
    for name, text in texts.items():
        write_atomic(directory / name, text.encode())
    return tuple(directory / name for name in texts)
