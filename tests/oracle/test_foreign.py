"""Other architectures and suites: closed worlds, and their own loaders under QEMU agree.

No code of the target is executed to resolve; QEMU's user emulation of the archive runs each tree's
own loader only to be asked. MINBUILD_ORACLE=all takes every package; else a sample, by a seed that
is printed.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from minbuild.facts.rendered_files import collect_rendered_files
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.shipped_manifests import find_manifest
from minbuild.paths import RootPath, to_host_path
from minbuild.pipeline.installed_root import check_root
from minbuild.pipeline.package_selection import PackageSource, select_packages
from minbuild.pipeline.resolved_host import extract_chosen_files
from minbuild.pipeline.session import BuildRequest, Session
from minbuild.resolve.closed_world import check_closed_world
from minbuild.resolve.model import NeedKind, Root
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.policy import ResolvePolicy
from minbuild.resolve.root_selection import list_roots
from tests.oracle.test_ldso import LISTED, is_loadable, resolve_package, run_loader, simulate_loader
from tests.oracle.trees import WHOLE, open_archive_source, sample, write_closure
from tests.support.sample import sampled_params
from tests.support.trees import as_package_files

pytestmark = [pytest.mark.oracle, pytest.mark.mirror]

PACKAGES = tuple(
    name
    for line in (
        "bash coreutils curl dash e2fsprogs file findutils gawk grep gzip iproute2 kmod less login",
        "nftables openssh-client procps sed tar util-linux",
        "libglib2.0-0t64 libssl3t64 libsystemd-shared libpython3.13-stdlib perl-base",
    )
    for name in line.split()
)
LOADERS = {
    "arm64": "/usr/lib/ld-linux-aarch64.so.1",
    "riscv64": "/usr/lib/ld-linux-riscv64-lp64d.so.1",
}
EMULATORS = {"arm64": "qemu-aarch64", "riscv64": "qemu-riscv64"}
SUITES = {"bookworm": ("bookworm", "bookworm-updates", "bookworm-security"), "forky": ("forky",)}


@dataclass(frozen=True, slots=True)
class Emulator:
    """QEMU's user emulation for one architecture, which is linked statically."""

    tree: Path
    arch: str

    def list_libraries(self, root: Path, program: str) -> str:
        """What a tree's own loader says of a program or library: `ld.so --list`."""
        result = subprocess.run(
            [
                self.tree / "usr/bin" / EMULATORS[self.arch], "-L", root,
                to_host_path(root, RootPath(LOADERS[self.arch])), "--list", program,
            ],
            capture_output=True, text=True, cwd=root,
        )  # fmt: skip
        assert result.returncode == 0, f"{program}: {result.stdout}{result.stderr}"
        return result.stdout


@pytest.mark.parametrize("arch", sampled_params(["arm64", "riscv64"]))
def test_foreign_packages_are_closed_and_their_loader_agrees(
    arch: str, package_source: PackageSource, tmp_path: Path
) -> None:
    emulator = make_emulator(arch, package_source, tmp_path)
    foreign = open_archive_source(package_source.session.store_directory, arch, ["trixie"])
    compared = objects = 0
    problems: list[str] = []
    for name in sample(PACKAGES, 2):
        selection, paths = resolve_package(name, foreign, arch=arch, loader=LOADERS[arch])
        extract_chosen_files(
            BuildRequest(tmp_path),
            selection.packages,
            selection.closure.files.values(),
            foreign.session,
        )
        root = tmp_path / f"{arch}-{name}"
        write_closure(selection.closure, root, foreign.session.store)
        if not (root / "lib").is_symlink():
            (root / "lib").symlink_to("usr/lib")
        result = check_root(root, Session(tmp_path / "store"))
        assert result.arch == arch
        known = {(one.kind, one.wanted) for one in selection.closure.unmet_needs}
        problems += [
            f"{name}: {one}"
            for one in result.dangling
            # what rules bring in is not asked for here: test_rules
            if one.kind is not NeedKind.DATA and (one.kind, one.wanted) not in known
        ]
        for one in simulate_loader(selection.files, paths, arch=arch):
            if one.missing:
                continue  # ld.so --list ends at the first library that is not found
            objects += 1
            output = emulator.list_libraries(root, one.path)
            theirs = [inside(root, each) for each in LISTED.findall(output)]
            theirs = [each for each in theirs if "/ld-linux-" not in each]
            compared += len(theirs)
            if one.loaded != theirs:
                problems.append(f"{name} {one}\n  theirs {theirs}")
    print(f"{arch}: {objects} programs and libraries, {compared} loaded objects compared")
    assert not problems, "\n".join(problems)
    assert compared


def make_emulator(arch: str, package_source: PackageSource, tmp_path: Path) -> Emulator:
    name = EMULATORS[arch]
    selection = select_packages(
        [Root(NeedKind.ROOT, f"/usr/bin/{name}", "oracle/emulator", "", "qemu-user")],
        package_source,
        arch="amd64",
    )
    extract_chosen_files(
        BuildRequest(tmp_path),
        selection.packages,
        selection.closure.files.values(),
        package_source.session,
    )
    write_closure(selection.closure, tmp_path / "emulator", package_source.session.store)
    return Emulator(tmp_path / "emulator", arch)


def inside(root: Path, listed: str) -> str:
    """A path as the loader prints it, seen from inside of the tree, links resolved."""
    top = os.path.realpath(root)
    path = os.path.realpath(listed if listed.startswith(top) else f"{top}{listed}")
    return path.removeprefix(top)


@pytest.mark.parametrize("suite", ["bookworm", "forky"] if WHOLE else ["bookworm"])
def test_the_host_resolves_in_other_suites_and_their_loaders_agree(
    suite: str, package_source: PackageSource, tmp_path: Path
) -> None:
    manifest = read_manifest(find_manifest("host.yaml"), settings={}, components=[])
    other = open_archive_source(package_source.session.store_directory, "amd64", SUITES[suite])
    own = collect_rendered_files(
        (file for one in manifest.components for file in one.files), other.session.store
    )
    selection = select_packages(
        list_roots(manifest), other, arch="amd64", manifest_files=[own],
        policy=ResolvePolicy(manifest.drop, manifest.allow_missing),
    )  # fmt: skip
    closure = selection.closure
    assert not closure.unmet_needs, [
        f"{one.by}: {one.kind} {one.wanted}" for one in closure.unmet_needs
    ]
    files = (own, *selection.files)
    assert check_closed_world(as_package_files(closure, files), arch="amd64", closure=closure) == ()
    assert PackageView(files).get_entry(RootPath("/usr/bin/busybox")) is not None
    extract_chosen_files(
        BuildRequest(tmp_path), selection.packages, closure.files.values(), other.session
    )
    write_closure(closure, tmp_path / "tree", other.session.store)
    by_name = {one.owner: one for one in files}
    paths = [
        path
        for path, one in closure.files.items()
        if one.package and is_loadable(by_name[one.package], path)
    ]
    problems = []
    for one in simulate_loader(files, paths):
        theirs = run_loader(tmp_path / "tree", one.path)
        if (one.loaded, one.missing) != (theirs.loaded, theirs.missing):
            problems.append(f"{one}\n  {theirs}")
    print(f"{suite}: {len(paths)} programs and libraries of the host compared")
    assert len(paths) > 10
    assert not problems, "\n".join(problems)
