"""Resolved host: its lock, package files and closure, the tree made of them, and what that tree
says of the attack surface."""

import json
import lzma
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from minbuild.archive.model import Lock, Package
from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.explain.providers import find_command_packages
from minbuild.facts.file_hardening import Hardening, read_capability, read_hardening
from minbuild.facts.model import KernelConfig, PackageFiles
from minbuild.facts.package_facts import extract_from_packages
from minbuild.footprint.attack_surface import SurfaceInputs, find_surface, is_surface_text
from minbuild.footprint.measure import SOLID_XZ, estimate_compressed, make_file_row
from minbuild.footprint.model import Surface
from minbuild.formats.root_entry import FileType
from minbuild.kconfig.model import KernelOptions
from minbuild.manifest.image_settings import ImageFormat
from minbuild.manifest.model import Manifest
from minbuild.parallel import map_in_threads
from minbuild.paths import RootPath
from minbuild.pipeline.modaliases import explain_missing_drivers
from minbuild.pipeline.named_paths import with_named_paths
from minbuild.pipeline.package_sources import ensure_downloaded
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.pipeline.shell_check import list_started_commands, with_script_warnings
from minbuild.resolve.kernel import MODULES_DIRECTORY
from minbuild.resolve.model import Closure, SelectedFile
from minbuild.rootfs.assemble import DECOMPRESS_REASON, make_rootfs
from minbuild.rootfs.model import RootfsTree


@dataclass(frozen=True, slots=True)
class ResolvedHost:
    """A manifest whose every need is met: `closure` has neither unmet needs nor unused waivers."""

    manifest: Manifest
    """With the users and directories that its packages declare as a component services/declared."""
    lock: Lock
    """The packages that `files` come from; of an installed root, those that own a chosen file."""
    files: tuple[PackageFiles, ...]
    """Files that the manifest renders first (owner ""), then those of each package of the lock."""
    closure: Closure
    kernel_options: KernelOptions | None = None
    """Of a kernel that is built for it."""


def extract_chosen_files(
    request: BuildRequest,
    packages: Sequence[Package],
    files: Iterable[SelectedFile],
    session: Session,
) -> None:
    """Put the content of every chosen file into the store, from its package.

    Raises: ArchiveError when a package cannot be had or is damaged.
    """
    by_name = {package.name: package for package in packages}
    digests_by_package: dict[str, set[str]] = {}
    for file in files:
        entry = file.entry
        if (
            file.package
            and entry.kind is FileType.FILE
            and session.store.path(entry.sha256) is None
        ):
            digests_by_package.setdefault(file.package, set()).add(entry.sha256)
    if not digests_by_package:
        return
    by_package: Mapping[Package, frozenset[str]] = {
        by_name[name]: frozenset(digests) for name, digests in sorted(digests_by_package.items())
    }
    ensure_downloaded(request, list(by_package), session)
    extract_from_packages(by_package, session.store, session.progress)


def analyse_surface(
    resolved: ResolvedHost, tree: RootfsTree, cmdline: str, xen_cmdline: str, store: Store
) -> Surface:
    """Judge a tree; each content is looked into once and remembered."""
    files = [node for node in tree.nodes if node.kind is FileType.FILE]
    texts = {
        str(node.path): (store.read(node.sha256) or b"").decode("utf-8", "replace")
        for node in files
        if is_surface_text(node.path, node.size)
    }
    evidence = SurfaceInputs(
        traits=_load_hardening({str(node.path): node.sha256 for node in files}, store),
        texts=texts,
        cmdline=cmdline,
        xen_cmdline=xen_cmdline if tree.hypervisor_image else "",
        kconfig=find_kernel_config(resolved, tree.kernel_release),
        started_by=list_started_commands(tree, store),
        capabilities={
            str(node.path): read_capability(bytes.fromhex(node.capability))
            for node in files
            if node.capability
        },
    )
    return find_surface([make_file_row(node) for node in tree.nodes], evidence)


def _load_hardening(digests: dict[str, str], store: Store) -> dict[str, Hardening]:
    by_digest: dict[str, Hardening] = {}
    new_records: dict[str, bytes] = {}
    for digest in sorted(set(digests.values())):
        record = store.get(RecordKind.HARDENING, digest)
        if record is None:
            result = read_hardening(store.read(digest) or b"")
            new_records[digest] = json.dumps(asdict(result)).encode()
        else:
            row = json.loads(record)
            result = Hardening(**row | {"lacks": tuple(row["lacks"])})
        by_digest[digest] = result
    if new_records:
        store.put(RecordKind.HARDENING, new_records)
    return {path: by_digest[digest] for path, digest in digests.items()}


def find_kernel_config(resolved: ResolvedHost, release: str) -> dict[str, str] | None:
    """The options of the kernel's configuration without CONFIG_; None: nobody has it."""
    for text in (f"{MODULES_DIRECTORY}/{release}/config", f"/boot/config-{release}"):
        path = RootPath(text)
        for files in resolved.files:
            if path in files.entries and isinstance(config := files.facts(path), KernelConfig):
                return dict(config.options)
    return None


LZMA_FILTERS = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 0}]


def weigh_contents(tree: RootfsTree, store: Store) -> dict[str, int]:
    """Content digest → about its bytes in a solid archive, for every file but the kernel."""
    digests = sorted(
        {node.sha256 for node in tree.nodes if node.sha256 and not tree.is_boot_image(node)}
    )
    records = {digest: store.get(RecordKind.WEIGHT, digest) for digest in digests}
    todo = [digest for digest, value in records.items() if value is None]
    new_records: dict[str, bytes] = {}
    if todo:
        sizes = map_in_threads(lambda digest: _estimate_packed_size(store.require(digest)), todo)
        new_records = {digest: str(size).encode() for digest, size in zip(todo, sizes, strict=True)}
        store.put(RecordKind.WEIGHT, new_records)
    return {digest: int(new_records.get(digest) or records[digest] or b"0") for digest in digests}


def estimate_initramfs(tree: RootfsTree, weights: dict[str, int]) -> int:
    """How many bytes the initramfs of a tree will have, before it is packed."""
    packed = [node.sha256 for node in tree.nodes if node.sha256 and not tree.is_boot_image(node)]
    return sum(weights[digest] for digest in packed)


def _estimate_packed_size(data: bytes) -> int:
    packed = lzma.compress(data, lzma.FORMAT_RAW, filters=LZMA_FILTERS)
    return estimate_compressed(len(packed), len(data), SOLID_XZ)


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
