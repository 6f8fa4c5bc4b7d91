"""Inputs of a kernel's compilation: its source, its toolchain, its object tree, and its options, read."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from minbuild.archive.model import Lock, Package
from minbuild.errors import ManifestError, ResolveError
from minbuild.kconfig.tree import OptionTree
from minbuild.kernel.build_root import BuildRoot
from minbuild.kernel.model import ARCHITECTURES, KernelArchitecture
from minbuild.kernel.option_shell import OptionShell
from minbuild.kernel.patches import apply_patch
from minbuild.kernel.source import read_kernel_version, unpack_source
from minbuild.manifest.model import Manifest
from minbuild.paths import RootPath
from minbuild.pipeline.lock_creation import KERNEL_TOOL, find_kernel_tools, lock_tools_only
from minbuild.pipeline.package_sources import extract_to_cache, load_package_files
from minbuild.pipeline.session import BuildRequest, Session, detect_machine_arch
from minbuild.pipeline.tool_setup import locate_tools, open_tools


@dataclass(frozen=True, slots=True)
class KernelInputs:
    """What one kernel is compiled from."""

    request: BuildRequest
    session: Session
    manifest: Manifest
    architecture: KernelArchitecture
    package: Package
    """The source."""
    tools_lock: Lock
    tools: Path

    @property
    def source_key(self) -> str:
        return digest_parts("source", *self.source_digests)

    @property
    def source_digests(self) -> tuple[str, ...]:
        """SHA-256 of the source package and of each patch, in their order."""
        patches = self.manifest.kernel.patches
        return (self.package.sha256, *(patch.sha256 for patch in patches))

    @property
    def source(self) -> Path:
        return self.session.store.kernel_path(self.source_key)

    @property
    def objects(self) -> Path:
        """One object tree for each source and toolchain: a change of options compiles what it touches."""
        key = digest_parts("objects", *self.source_digests, self.tools.name, self.architecture.arch)
        return self.session.store.kernel_path(key) / "objects"


def prepare_kernel(
    request: BuildRequest, manifest: Manifest, lock: Lock, session: Session
) -> KernelInputs:
    where = str(manifest.kernel.where)
    architecture = ARCHITECTURES.get(manifest.arch)
    if architecture is None or manifest.arch != detect_machine_arch():
        raise ManifestError(
            f"a kernel for {manifest.arch} cannot be compiled on this machine",
            where=where,
            fix=f"build on a machine of that architecture; known are {', '.join(sorted(ARCHITECTURES))}",
        )
    package = next((one for one in lock.packages if one.name == manifest.kernel.package), None)
    if package is None:
        raise ResolveError(
            f"the lock does not have the kernel's source {manifest.kernel.package}",
            where=where,
            fix=f"write the lock anew: minbuild lock {request.manifest_argument}",
        )
    tools = find_kernel_tools(KERNEL_TOOL)
    is_locked = any(one.name == KERNEL_TOOL for one in lock.toolbox)
    tools_lock = lock if is_locked else lock_tools_only(request, session, tools)
    tools_path = locate_tools(request, tools_lock, session, tools)
    return KernelInputs(request, session, manifest, architecture, package, tools_lock, tools_path)


def open_option_tree(build: KernelInputs) -> OptionTree:
    """Every option of the source, as `allnoconfig` has them; takes about 3 s of processor.

    Raises: ToolError.
    """
    bring_source(build)
    version = read_kernel_version(build.source)
    with build.session.store.create_temp_dir() as work:
        (work / "objects").mkdir()
        root = BuildRoot(build.tools, build.source, work / "objects")
        with OptionShell(root) as shell:
            return OptionTree(build.source, _list_variables(build, version, shell), shell.run)


def _list_variables(build: KernelInputs, version: str, shell: OptionShell) -> dict[str, str]:
    """What the kernel's Makefile exports to Kconfig. Source: Linux, Makefile and scripts/kconfig."""
    return {
        "ARCH": build.architecture.arch,
        "BINDGEN": "bindgen",
        "CC": "gcc-14",
        "CC_VERSION_TEXT": shell.run("gcc-14 --version | head -n 1").strip(),
        "CLANG_FLAGS": "",
        "HOSTCC": "gcc-14",
        "KERNELVERSION": version,
        "LD": "ld",
        "NM": "nm",
        "OBJCOPY": "objcopy",
        "PAHOLE": "pahole",
        "RUSTC": "rustc",
        "RUSTC_VERSION_TEXT": "",
        "SRCARCH": build.architecture.directory,
        "srctree": str(build.source),
    }


def bring_source(build: KernelInputs) -> None:
    """Unpack toolchain and source into the store."""
    session = build.session
    toolbox = open_tools(build.request, build.tools_lock, session, find_kernel_tools(KERNEL_TOOL))
    assert toolbox.root == build.tools
    with session.store.lock(f"kernel {build.source_key}"):
        if build.source.is_dir():
            return
        path = RootPath(f"/usr/src/{build.package.name}.tar.xz")
        archive = session.store.path(extract_source_file(build, path))
        assert archive is not None
        session.progress.step(f"unpacking {build.package.name}")
        with session.store.create_temp_dir() as work:
            target = work / "linux"
            target.mkdir()
            unpack_source(build.tools, archive, target)
            for patch in build.manifest.kernel.patches:
                apply_patch(target, patch)
            target.rename(build.source)


def extract_source_file(build: KernelInputs, path: RootPath) -> str:
    """Put one file of the source package into the store, and return its digest."""
    (files,) = load_package_files(build.request, [build.package], build.session)
    entry = files.entries.get(path)
    if entry is None:
        raise ManifestError(
            f"the package {build.package.name} has no {path}, so it is no kernel's source",
            where=str(build.manifest.kernel.where),
            fix="name a package linux-source-VERSION in kernel.build",
        )
    if build.session.store.path(entry.sha256) is None:
        extract_to_cache(build.request, build.session, build.package, [entry.sha256])
    return entry.sha256


def digest_parts(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
