"""Trimming an installed root to what a manifest needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.dib import trim as cutting
from minbuild.errors import UsageError
from minbuild.explain.why import explain
from minbuild.file_io import write_atomic
from minbuild.footprint import document
from minbuild.footprint.measure import measure_image
from minbuild.footprint.model import Footprint
from minbuild.formats.root_entry import FileType
from minbuild.pipeline.installed_root import make_external_readers, resolve_root_packages
from minbuild.pipeline.load import load_manifest
from minbuild.pipeline.measurement import estimate_initramfs, weigh_contents
from minbuild.pipeline.rootfs_checks import verify_closed_world
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.pipeline.shell_check import with_script_warnings
from minbuild.report import need_chains
from minbuild.rootfs.assemble import make_rootfs
from minbuild.roots.directory import Directory
from minbuild.roots.root_packages import RootPackages


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
    trim_plan = cutting.plan_trim(
        root_packages.by_image_path,
        root_packages.by_native_path,
        tree,
        [name.strip("/") for name in keep],
    )
    if not dry_run:
        session.progress.step(f"trimming {top}")
        cutting.apply_trim(top, trim_plan, session.store.require)
    regular_files = [
        entry for entry in root_packages.by_native_path.values() if entry.kind is FileType.FILE
    ]
    return TrimResult(
        len(regular_files),
        sum(entry.size for entry in regular_files),
        footprint,
        len(trim_plan.remove),
    )


def write_reports(result: TrimResult, directory: Path) -> tuple[Path, ...]:
    """Write footprint.json and why.txt, the chain of needs of every path, to a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    footprint = result.footprint
    chains = [
        need_chains.render_explanation(explain(footprint, row.path, all_chains=False))
        for row in footprint.files
    ]
    texts = {"footprint.json": document.render_footprint(footprint), "why.txt": "\n".join(chains)}
    for name, text in texts.items():
        write_atomic(directory / name, text.encode())
    return tuple(directory / name for name in texts)
