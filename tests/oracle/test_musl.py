"""Our idea of musl's loader against the real one, over worlds that no packager would make.

As many worlds as MINBUILD_ORACLE_EXAMPLES says are searched anew each time; in the ordinary suite
it is always the same few.
"""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from minbuild.facts.model import Elf
from minbuild.paths import RootPath, to_host_path
from minbuild.pipeline.package_selection import PackageSource, select_packages
from minbuild.pipeline.resolved_host import extract_chosen_files
from minbuild.pipeline.session import BuildRequest
from minbuild.resolve.builtin_tables import find_architecture
from minbuild.resolve.ldso import DynamicLoader
from minbuild.resolve.model import NeedKind, Root, UnmetNeed
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.policy import Waivers
from tests.oracle.chroot import make_chroot
from tests.oracle.random_roots import CONFIGURED, LINKS, PROGRAM, World, as_package_files, worlds
from tests.oracle.test_ldso_random import SEARCHED, resolve_inside, write_tree
from tests.support import elf as made

pytestmark = [pytest.mark.oracle, pytest.mark.mirror]

INTERP = "/lib/ld-musl-x86_64.so.1"
PATH = "/etc/ld-musl-x86_64.path"
PLACES = {"libc.musl-x86_64.so.1", "libc.so", "libm.so.6", "libpthread.so.0"}
_FOUND = re.compile(r"^\t(\S+) => (\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_LOST = re.compile(r"^Error loading shared library ([^\n]*?): [^:\n]* \(needed by ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class MuslOutcome:
    loaded: tuple[str, ...]
    """Real paths in load order; the loader itself is left out."""
    missing: tuple[str, ...]
    """Sorted."""


@pytest.fixture(scope="module")
def libc(package_source: PackageSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's own musl, which is loader and library."""
    loader_path = RootPath("/usr/lib/x86_64-linux-musl/libc.so")
    selection = select_packages(
        [Root(NeedKind.ROOT, loader_path, "oracle/musl", "", "musl")], package_source, arch="amd64"
    )
    chosen = selection.closure.files[loader_path]
    path = tmp_path_factory.mktemp("musl")
    extract_chosen_files(BuildRequest(path), selection.packages, [chosen], package_source.session)
    data = package_source.session.store.read(chosen.entry.sha256)
    assert data is not None
    (path / "libc.so").write_bytes(data)
    return path / "libc.so"


@st.composite
def draw_path_file(draw: st.DrawFn) -> bytes | None:
    """What the file says that lists directories; None where there is none."""
    if draw(st.integers(0, 2)) == 0:
        return None
    chosen = draw(st.lists(st.sampled_from((*CONFIGURED, "/turn", "/a/app")), max_size=4))
    return draw(st.sampled_from((":", "\n", "::", ":\n"))).join(chosen).encode()


def with_musl(world: World, libc: Path, document: bytes | None, needed: Sequence[str]) -> World:
    """A world whose program has musl's loader.

    It asks no library which machine it is for, and fails at what it does not know in it: those of
    another machine are made for this one.
    """
    own = made.MACHINES["amd64"]
    files = {
        path: replace(one, machine=own) if isinstance(one, made.Elf) else one
        for path, one in world.files.items()
    }
    program = files[PROGRAM]
    assert isinstance(program, made.Elf)
    files[PROGRAM] = replace(program, interp=INTERP, needed=(*program.needed, *needed), filters=())
    files[INTERP if world.split else f"/usr{INTERP}"] = libc.read_bytes()
    if document is not None:
        files[PATH] = document
    return replace(world, files=files, conf=(), cache={}, preload=())


DEEP = World(
    files={
        "/a/app": made.Elf(interp=INTERP, needed=["lib1.so"], runpath="/b"),
        "/b/lib1.so": made.Elf(needed=["lib2.so"]),
        "/b/lib2.so": made.Elf(needed=["lib3.so"], runpath="$ORIGIN/sub"),
        "/b/sub/lib3.so": made.Elf(soname="lib4.so", needed=["lib4.so"]),
    },
    links=LINKS,
)
"""A RUNPATH serves what the object brings in; a soname is no name."""


@SEARCHED
@example(world=DEEP, told=None, needed=[])
@example(world=DEEP, told=b"", needed=["libm.so.6"])
@given(
    world=worlds(spoilt=True),
    told=draw_path_file(),
    needed=st.lists(st.sampled_from(sorted(PLACES)), max_size=2),
)
def test_any_process_is_what_musl_makes_of_it(
    world: World, told: bytes | None, needed: list[str], libc: Path, tmp_path: Path
) -> None:
    world = with_musl(world, libc, told, needed)
    other = tmp_path / "ld.so"  # glibc's name, and no second C library, which musl would not map
    other.write_bytes(made.elf(made.Elf(soname="ld-linux-x86-64.so.2")))
    with write_tree(world, tmp_path, other) as tree:
        theirs = run_loader(tree)
    assert simulate_loader(world) == theirs


def run_loader(tree: Path) -> MuslOutcome:
    """What the loader says of the program when it is called ldd."""
    to_host_path(tree, RootPath("/lib")).resolve().joinpath("ld-musl-x86_64.so.1").chmod(0o755)
    result = subprocess.run(
        ["ldd", PROGRAM], executable=INTERP, capture_output=True, text=True, check=False,
        preexec_fn=make_chroot(tree, bound=True), env={},
    )  # fmt: skip
    assume(result.returncode >= 0)
    paths = [
        resolve_inside(tree, path) for name, path in _FOUND.findall(result.stdout) if path != INTERP
    ]
    missing = set(_LOST.findall(result.stderr))
    assert result.stdout, result
    return MuslOutcome(tuple(paths), tuple(sorted(missing)))


def simulate_loader(world: World) -> MuslOutcome:
    """What we say of the program."""
    files = as_package_files(world)
    catalog = PackageView([files], merged=False)
    loader = DynamicLoader(catalog, find_architecture("amd64"), Waivers())
    elf = files.facts(PROGRAM)
    assert isinstance(elf, Elf)
    process = loader.load_process(PROGRAM, elf)
    assert process.musl is not None
    missing = {one.wanted for one in process.results if isinstance(one, UnmetNeed)}
    itself = process.musl.loaded_object
    loaded = [one.path for one in process.objects[1:] if itself is None or one.path != itself.path]
    return MuslOutcome(tuple(loaded), tuple(sorted(missing)))
