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

from minbuild.build.closed import examine
from minbuild.build.contents import bring
from minbuild.build.growing import Market, grow
from minbuild.build.request import Doors, Request
from minbuild.facts.rendered import rendered
from minbuild.manifest.find import manifest_file
from minbuild.manifest.load import load
from minbuild.paths import RootPath, under
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.check import check
from minbuild.resolve.roots import roots
from minbuild.resolve.types import NeedKind, Root
from tests.oracle.test_ldso import LISTED, asked, loadable, simulated, whole
from tests.oracle.trees import WHOLE, lay, open_market, sampled
from tests.support.trees import tree

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

    def listed(self, root: Path, program: str) -> str:
        """What a tree's own loader says of a program or library: `ld.so --list`."""
        done = subprocess.run(
            [
                self.tree / "usr/bin" / EMULATORS[self.arch], "-L", root,
                under(root, RootPath(LOADERS[self.arch])), "--list", program,
            ],
            capture_output=True, text=True, cwd=root,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout


@pytest.mark.parametrize("arch", ["arm64", "riscv64"])
def test_foreign_packages_are_closed_and_their_loader_agrees(
    arch: str, market: Market, tmp_path: Path
) -> None:
    emulator = emulated(arch, market, tmp_path)
    foreign = open_market(market.doors.store_directory, arch, ["trixie"])
    compared = objects = 0
    problems: list[str] = []
    for name in sampled(PACKAGES, 2):
        grown, paths = whole(name, foreign, arch=arch, loader=LOADERS[arch])
        bring(Request(tmp_path), grown.packages, grown.closure.chosen.values(), foreign.doors)
        root = tmp_path / f"{arch}-{name}"
        lay(grown.closure, root, foreign.doors.store)
        if not (root / "lib").is_symlink():
            (root / "lib").symlink_to("usr/lib")
        found = examine(root, Doors(tmp_path / "store"))
        assert found.arch == arch
        known = {(one.kind, one.wanted) for one in grown.closure.missing}
        problems += [
            f"{name}: {one}"
            for one in found.dangling
            # what rules bring in is not asked for here: test_rules
            if one.kind is not NeedKind.DATA and (one.kind, one.wanted) not in known
        ]
        for one in simulated(grown.files, paths, arch=arch):
            if one.lost:
                continue  # ld.so --list ends at the first library that is not found
            objects += 1
            said = emulator.listed(root, one.path)
            theirs = [inside(root, each) for each in LISTED.findall(said)]
            theirs = [each for each in theirs if "/ld-linux-" not in each]
            compared += len(theirs)
            if one.loaded != theirs:
                problems.append(f"{name} {one}\n  theirs {theirs}")
    print(f"{arch}: {objects} programs and libraries, {compared} loaded objects compared")
    assert not problems, "\n".join(problems)
    assert compared


def emulated(arch: str, market: Market, tmp_path: Path) -> Emulator:
    name = EMULATORS[arch]
    grown = grow(
        [Root(NeedKind.ROOT, f"/usr/bin/{name}", "oracle/emulator", "", "qemu-user")],
        market,
        arch="amd64",
    )
    bring(Request(tmp_path), grown.packages, grown.closure.chosen.values(), market.doors)
    lay(grown.closure, tmp_path / "emulator", market.doors.store)
    return Emulator(tmp_path / "emulator", arch)


def inside(root: Path, listed: str) -> str:
    """A path as the loader prints it, seen from inside of the tree, links resolved."""
    top = os.path.realpath(root)
    path = os.path.realpath(listed if listed.startswith(top) else f"{top}{listed}")
    return path.removeprefix(top)


@pytest.mark.parametrize("suite", ["bookworm", "forky"] if WHOLE else ["bookworm"])
def test_the_host_resolves_in_other_suites_and_their_loaders_agree(
    suite: str, market: Market, tmp_path: Path
) -> None:
    manifest = load(manifest_file("host.yaml"), settings={}, components=[])
    other = open_market(market.doors.store_directory, "amd64", SUITES[suite])
    own = rendered((file for one in manifest.components for file in one.files), other.doors.store)
    grown = grow(
        roots(manifest), other, arch="amd64", rendered=[own],
        drop=manifest.drop, allow_missing=manifest.allow_missing,
    )  # fmt: skip
    closure = grown.closure
    assert not closure.missing, [f"{one.by}: {one.kind} {one.wanted}" for one in closure.missing]
    files = (own, *grown.files)
    assert check(tree(closure, files), arch="amd64", closure=closure) == ()
    assert Catalog(files).entry(RootPath("/usr/bin/busybox")) is not None
    bring(Request(tmp_path), grown.packages, closure.chosen.values(), other.doors)
    lay(closure, tmp_path / "tree", other.doors.store)
    by_name = {one.owner: one for one in files}
    paths = [
        path
        for path, one in closure.chosen.items()
        if one.package and loadable(by_name[one.package], path)
    ]
    problems = []
    for one in simulated(files, paths):
        theirs = asked(tmp_path / "tree", one.path)
        if (one.loaded, one.lost) != (theirs.loaded, theirs.lost):
            problems.append(f"{one}\n  {theirs}")
    print(f"{suite}: {len(paths)} programs and libraries of the host compared")
    assert len(paths) > 10
    assert not problems, "\n".join(problems)
