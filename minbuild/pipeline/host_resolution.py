"""Resolution of a manifest with its lock: every need met by a locked package, or an error."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from minbuild.archive.model import Lock
from minbuild.errors import ArchiveError, ResolveError
from minbuild.facts.model import PackageFiles
from minbuild.facts.rendered_files import collect_rendered_files
from minbuild.lazy_import import import_lazily
from minbuild.manifest.model import Manifest
from minbuild.pipeline.accounts import with_declared_accounts
from minbuild.pipeline.kernel_build import provide_kernel
from minbuild.pipeline.lock_policy import check_host_packages, check_lock
from minbuild.pipeline.maintainer_scripts import with_generated_files
from minbuild.pipeline.named_paths import resolve_named_paths
from minbuild.pipeline.package_sources import (
    extract_to_cache,
    load_package_files,
    locate_mirror,
    open_archives,
)
from minbuild.pipeline.provider_search import ProviderSearch
from minbuild.pipeline.resolved_host import ResolvedHost
from minbuild.pipeline.session import BuildRequest, Session, locate_lock
from minbuild.pipeline.shell_check import drop_used_waivers, make_content_reader
from minbuild.resolve import error_messages
from minbuild.resolve.model import Closure
from minbuild.resolve.policy import make_policy
from minbuild.resolve.root_selection import list_roots

if TYPE_CHECKING:
    from minbuild.pipeline import installed_root
else:  # 40 modules that few hosts need
    (installed_root,) = import_lazily("minbuild.pipeline", "installed_root")


def resolve_host(
    request: BuildRequest,
    manifest: Manifest,
    lock: Lock | None,
    session: Session,
    *,
    with_accounts: bool = True,
    compiles: bool = False,
) -> ResolvedHost:
    """Resolve a manifest with the packages of its lock, and no others.

    Resolves again while files name more paths to follow, and once more with the users and
    directories that the chosen packages declare (`with_accounts`). A manifest of an installed root
    is resolved over the files of that root; a lock of None then means that of the tools. A kernel that
    is built is compiled first where `compiles` says so.
    Raises: ResolveError when the lock does not meet every need.
    """
    if lock is None or manifest.archive.root:
        return installed_root.resolve_root(request, manifest, lock, session)
    _refuse_stale_lock(request, manifest, lock, session)
    store = session.store
    kernel = provide_kernel(request, manifest, lock, session, compiles=compiles)
    policy = make_policy(manifest)
    extract = partial(extract_to_cache, request, session)
    read_content = make_content_reader(kernel.packages, store, extract)
    package_files = with_generated_files(
        load_package_files(request, kernel.packages, session),
        kernel.packages, policy.rules, store, extract,
    )  # fmt: skip
    while True:
        files = (_render_files(manifest, session), *package_files)
        roots = list_roots(manifest)
        closure = resolve_named_paths(roots, files, manifest, policy, read_content, store)
        closure = drop_used_waivers(closure, files, manifest.allow_missing, read_content, store)
        if closure.unmet_needs or closure.unused_waivers:
            raise _explain_unmet(closure, files, request, manifest, session)
        declared = with_declared_accounts(manifest, closure, files) if with_accounts else manifest
        if declared is manifest:
            return ResolvedHost(manifest, lock, files, closure, kernel.options)
        manifest, with_accounts = declared, False


def _refuse_stale_lock(
    request: BuildRequest, manifest: Manifest, lock: Lock, session: Session
) -> None:
    """Raises: ArchiveError for what the manifest rules out, or the archive did not sign."""
    path = locate_lock(request, manifest)
    check_lock(request, manifest, lock, path)
    check_host_packages(request, manifest, lock.packages, session, where=str(path))


def _render_files(manifest: Manifest, session: Session) -> PackageFiles:
    return collect_rendered_files(
        (file for one in manifest.components for file in one.files), session.store
    )


def _explain_unmet(
    closure: Closure,
    files: tuple[PackageFiles, ...],
    request: BuildRequest,
    manifest: Manifest,
    session: Session,
) -> ResolveError:
    """Make the error of a lock that does not meet every need, or meets a waived one."""
    error = error_messages.make_unresolved_error(closure, files)
    if closure.unmet_needs:
        error = _add_providers(error, closure, request, manifest, session)
    lock_path = locate_lock(request, manifest)
    return _hint_stale_lock(error, len(closure.unused_waivers), request, lock_path)


def _add_providers(
    error: ResolveError,
    closure: Closure,
    request: BuildRequest,
    manifest: Manifest,
    session: Session,
) -> ResolveError:
    """Say of needs that a lock does not meet who has them, where the archive can be asked."""
    try:
        index = open_archives(request, manifest, manifest.arch, session)
        mirror = locate_mirror(request, manifest.arch)
    except ArchiveError as problem:
        error.fix += f" (which package has it was not looked up: {problem.what})"
        return error
    return ProviderSearch(manifest, index, mirror, session, request.offline).add_to_error(
        error, closure
    )


def _hint_stale_lock(
    error: ResolveError, unused_count: int, request: BuildRequest, lock_path: Path
) -> ResolveError:
    """Say first of each need that the lock may be too old for the manifest.

    `idle`: how many of the errors, from the end, are waivers; the others are needs.
    """
    if not error.where:
        error.where = str(lock_path)
    cell_option = f" --cell {request.cell}" if request.cell else ""
    lock_command = f"minbuild lock {request.manifest_argument}{cell_option}"
    errors = (error, *error.also)
    for problem in errors[: len(errors) - unused_count]:
        problem.what = problem.what.replace(
            error_messages.NOT_OFFERED, f"is not in {lock_path.name}"
        )
        problem.fix = f"{lock_command}, if the manifest has changed since {lock_path.name} was written; else {problem.fix}"
    return error
