"""A kernel that is compiled for a host: options resolved, compiled once, kept in the store as a package."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from minbuild.archive.model import Lock, Package
from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import ResolveError, combine
from minbuild.facts.model import PackageFiles
from minbuild.facts.package_facts import extract_from_packages, load_facts
from minbuild.kconfig.document import parse_options, render_options
from minbuild.kconfig.model import KernelOptions
from minbuild.kconfig.resolution import resolve_options
from minbuild.kernel import compilation
from minbuild.kernel.build_root import BuildRoot
from minbuild.kernel.model import CompiledKernel
from minbuild.kernel.package import locate_sources, render_package
from minbuild.kernel.source import read_kernel_version
from minbuild.manifest.model import Manifest
from minbuild.paths import RootPath
from minbuild.pipeline.kernel_inputs import (
    KernelInputs,
    bring_source,
    digest_parts,
    extract_source_file,
    open_option_tree,
    prepare_kernel,
)
from minbuild.pipeline.kernel_options import list_module_requests, list_option_requests
from minbuild.pipeline.session import BuildRequest, Session, digest_source_code

EPOCH = 0
"""Seconds UTC of the files of such a package, which nobody reads."""
RECIPE = "2"
"""Counts up when the same options of the same source would give another kernel."""


MAX_BUILT_SIZE = 512 << 20
"""Bytes of the package with a built kernel, at most."""


@dataclass(frozen=True, slots=True)
class ProvidedPackages:
    """The packages of a lock as the resolver sees them, and the options of a kernel that is built."""

    packages: tuple[Package, ...]
    options: KernelOptions | None = None


def provide_kernel(
    request: BuildRequest, manifest: Manifest, lock: Lock, session: Session, *, compiles: bool
) -> ProvidedPackages:
    """In place of a kernel's source in a lock, the kernel that is compiled from it.

    With `compiles` False, and where it has not been compiled yet, its image is an empty file.
    Raises: ManifestError; ArchiveError; ResolveError for options that cannot be; ToolError.
    """
    if not manifest.kernel.is_built:
        return ProvidedPackages(lock.packages)
    build = prepare_kernel(request, manifest, lock, session)
    options = _resolve(build)
    key = digest_parts(
        "kernel", RECIPE, *build.source_digests, build.tools.name, *_list_settings(options)
    )
    package = _find_built(build, key)
    if package is None and compiles:
        with session.store.lock(f"kernel {build.objects}"):
            package = _find_built(build, key) or _compile(build, options, key)
    elif package is None:
        session.progress.note(
            f"the kernel is not compiled yet, and counts 0 bytes: minbuild make {request.manifest_argument}"
        )
        package = _add_package(build, _plan_kernel(options))
    packages = tuple(
        package if each.name == manifest.kernel.package else each for each in lock.packages
    )
    return ProvidedPackages(packages, options)


def _resolve(build: KernelInputs) -> KernelOptions:
    """The options of a kernel, remembered under all that they depend on."""
    requests = sorted(list_option_requests(build.manifest), key=repr)
    modules = [
        (part.name, str(one.where), one.text)
        for part in build.manifest.components
        for one in part.modules
    ]
    key = digest_parts(
        "options", *build.source_digests, build.tools.name, build.architecture.arch,
        digest_source_code(build.session.store), repr(requests), repr(modules),
    )  # fmt: skip
    store = build.session.store
    record = store.get(RecordKind.KERNEL_OPTIONS, key)
    if record is not None:
        return parse_options(record.decode(), "the store")
    build.session.progress.step("resolving the kernel's options")
    tree = open_option_tree(build)
    version = read_kernel_version(build.source)
    requests += list_module_requests(build.manifest, build.source, build.architecture, tree)
    options = resolve_options(tree, requests, version)
    patches = tuple((patch.name, patch.sha256) for patch in build.manifest.kernel.patches)
    options = replace(options, patches=patches)
    store.put(RecordKind.KERNEL_OPTIONS, {key: render_options(options).encode()})
    return options


def _compile(build: KernelInputs, options: KernelOptions, key: str) -> Package:
    """Compile, prove what came out, and keep it."""
    progress = build.session.progress
    bring_source(build)
    build.objects.mkdir(parents=True, exist_ok=True)
    root = BuildRoot(build.tools, build.source, build.objects)
    progress.step(f"compiling the kernel {options.version}, {options.count} options")
    text = compilation.render_settings(options.settings, options.texts)
    compilation.configure_kernel(root, build.architecture, text)
    _prove(options, compilation.read_config(build.objects))
    compiled = compilation.compile_kernel(
        root, build.architecture, _read_epoch(build), options.version, progress
    )
    package = _add_package(build, compiled)
    store, made = build.session.store, {key: package.sha256}
    store.put(RecordKind.BUILT_KERNEL, {key: package.sha256.encode()})
    if store.remote is not None:
        store.remote.share_made(store, RecordKind.BUILT_KERNEL, made, build.session.progress.note)
    return package


def _prove(options: KernelOptions, config: Mapping[str, str]) -> None:
    """Hold the kernel's own `.config` against what was asked for. Raises: ResolveError."""
    problems = [
        ResolveError(
            f"{one.by} asks for {one.name}={one.value}, and the kernel's configuration has "
            f"{config.get(one.name, 'n')}: it was dropped in silence",
            where=one.evidence,
            fix="remove the request, or ask for what it depends on",
        )
        for one in options.requests
        if config.get(one.name, "n") not in {one.value, one.value.replace("m", "y")}
    ]
    if problems:
        raise combine(problems)


def _plan_kernel(options: KernelOptions) -> CompiledKernel:
    """What can be said of a kernel that is not compiled: its options, and the modules in it."""
    lines = [f"CONFIG_{need.name}={need.value}\n" for need in options.needs.values()]
    names = [
        one.evidence.partition(": module ")[2]
        for one in options.requests
        if ": module " in one.evidence
    ]
    builtin = "".join(f"kernel/{name}.ko\n" for name in sorted(set(names)))
    return CompiledKernel(options.version, b"", "".join(lines).encode(), builtin.encode(), b"", ())


def _add_package(build: KernelInputs, kernel: CompiledKernel) -> Package:
    """Keep a kernel as a package in the store, under the name of its source."""
    source = build.package
    fields = {
        "Package": source.name,
        "Source": "linux",
        "Version": source.version,
        "Architecture": source.arch,
        "Maintainer": "minbuild",
        "Description": "a kernel that minbuild compiled",
    }
    path = RootPath(f"/usr/share/doc/{source.name}/copyright")
    copyright_text = build.session.store.require(extract_source_file(build, path))
    data = render_package(kernel, fields, copyright_text, EPOCH)
    sha256 = build.session.store.add(data)
    return _open_package(build, replace(source, sha256=sha256, size=len(data)))


def _find_built(build: KernelInputs, key: str) -> Package | None:
    """The kernel of these options, if it was compiled before and is whole."""
    store, note = build.session.store, build.session.progress.note
    if store.remote is not None and store.get(RecordKind.BUILT_KERNEL, key) is None:
        store.remote.fetch_made(store, RecordKind.BUILT_KERNEL, {key: MAX_BUILT_SIZE}, note)
    record = store.get(RecordKind.BUILT_KERNEL, key)
    path = None if record is None else store.find_verified(record.decode())
    if record is None or path is None:
        return None
    package = replace(build.package, sha256=record.decode(), size=path.stat().st_size)
    return _open_package(build, package)


def _open_package(build: KernelInputs, package: Package) -> Package:
    """Have every content of a built kernel in the store: no archive has them."""
    store = build.session.store
    (files,) = load_facts([package], store, build.session.progress)
    build.session.package_files[package.sha256] = files
    digests = {one.sha256 for one in files.entries.values() if one.sha256}
    absent = frozenset(digest for digest in digests if store.path(digest) is None)
    if absent:
        extract_from_packages({package: absent}, store, build.session.progress)
    return package


def read_compiled_sources(files: Iterable[PackageFiles], release: str, store: Store) -> str:
    """The sources that a built kernel was compiled from, one a line; "" where nobody has the list."""
    path = RootPath(f"/{locate_sources(release)}")
    for package_files in files:
        entry = package_files.entries.get(path)
        if entry is not None:
            return store.require(entry.sha256).decode()
    return ""


def _read_epoch(build: KernelInputs) -> int:
    """The date in the kernel's banner: that of the source."""
    return int((build.source / "Makefile").stat().st_mtime)


def _list_settings(options: KernelOptions) -> list[str]:
    return [f"{name}={value}" for name, value in sorted(options.settings.items())]
