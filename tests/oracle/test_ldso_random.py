"""Our loader against the real one, over worlds that no packager would make."""

import itertools
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, target
from hypothesis import strategies as st

from minbuild.archive.index import open_index
from minbuild.archive.mirror import find_mirror
from minbuild.build.contents import bring
from minbuild.build.growing import Market, grow
from minbuild.build.request import Doors, Request
from minbuild.facts.ldconfig import write_cache
from minbuild.facts.sniff import sniff
from minbuild.facts.types import Elf, Entry, FileFacts, Files, Kind, Listing
from minbuild.manifest.types import Archive
from minbuild.paths import RootPath, parents, under
from minbuild.progress import Silent
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.configured import CACHE, CONF, PRELOAD, cacheable, configured
from minbuild.resolve.ldso import Loader
from minbuild.resolve.machine import machine
from minbuild.resolve.types import Missing, NeedKind, Root
from minbuild.resolve.waivers import Waivers
from tests.oracle.jail import trace
from tests.support import elf as made

pytestmark = [pytest.mark.oracle, pytest.mark.mirror]

LIB = "/usr/lib/x86_64-linux-gnu"
LOADER = f"{LIB}/ld-linux-x86-64.so.2"
DIRECTORIES = ("/a", "/a/sub", "/b", "/b/sub", "/a/lib/x86_64-linux-gnu", LIB, "/usr/lib")
LINKS = {"/c": "a", "/a/up": "../b", "/lib": "usr/lib", "/lib64": "usr/lib64", "/turn": "turn"}
SEARCH = (
    "$ORIGIN", "${ORIGIN}/sub", "$ORIGIN/../b", "/a", "/b", "/c", "/c/sub", "/a/$LIB", "/a/up",
    "/gone/../a", "/a/../b", "/turn/a", "/lib", "$ORIGINAL", "/a/${PLATFORM}/..",
)  # fmt: skip
NAMES = tuple(f"lib{number}.so" for number in range(5))
NODEFLIB = 0x800
_FOUND = re.compile(r"^\t(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$")
_LOST = re.compile(r"^\t(\S+) => not found$")


@dataclass(frozen=True)
class World:
    files: Mapping[str, made.Elf]
    links: Mapping[str, str]
    conf: tuple[str, ...] = ()
    """Directories that a cache is made of."""
    preload: tuple[str, ...] = ()


SEARCHES = st.lists(st.sampled_from(SEARCH), min_size=1, max_size=3, unique=True).map(":".join)
PATHS = st.one_of(
    st.tuples(SEARCHES, st.just("")),
    st.tuples(SEARCHES, st.just("")),
    st.tuples(st.just(""), SEARCHES),
    st.tuples(SEARCHES, SEARCHES),
    st.just(("", "")),
)
"""RPATH and RUNPATH."""
NEEDED = st.lists(
    st.sampled_from((*NAMES, "/b/lib0.so", "alias.so")),
    min_size=1,
    max_size=4,
    unique=True,
)


@st.composite
def objects(draw: st.DrawFn, soname: str, interp: str = "") -> made.Elf:
    """One object; now and then one that the loader must pass over."""
    foreign = not interp and draw(st.integers(0, 7)) == 0
    rpath, runpath = draw(PATHS)
    return made.Elf(
        soname=soname,
        interp=interp,
        needed=draw(NEEDED),
        rpath=rpath,
        runpath=runpath,
        df_1=draw(st.sampled_from((0, 0, 0, 0, NODEFLIB))),
        machine=made.MACHINES["arm64"] if foreign else made.MACHINES["amd64"],
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    files: dict[str, made.Elf] = {}
    links = dict(LINKS)
    for name in NAMES:
        for directory in draw(st.sets(st.sampled_from(DIRECTORIES), min_size=1, max_size=3)):
            other = draw(st.integers(0, 2)) == 0
            if draw(st.integers(0, 3)) == 0:
                links[f"{directory}/{name}"] = draw(st.sampled_from(("../b/", "/a/"))) + name
            else:
                files[f"{directory}/{name}"] = draw(objects("alias.so" if other else name))
    files["/a/app"] = draw(objects("", "/lib64/ld-linux-x86-64.so.2"))
    conf = draw(st.sets(st.sampled_from(("/a", "/b", "/c", "/a/up", LIB, "/lib", "/gone"))))
    preload = draw(st.one_of(st.just(()), st.tuples(st.sampled_from((*NAMES, "/b/lib0.so")))))
    return World(files, links, tuple(sorted(conf)), preload)


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's own loader."""
    store = os.environ.get("MINBUILD_TEST_STORE") or tmp_path_factory.mktemp("store")
    doors = Doors(Path(store), Silent())
    archive, mirror = Archive(), find_mirror("")
    index = open_index(archive, "amd64", mirror, doors.store, offline=False, progress=Silent())
    root = Root(NeedKind.ROOT, LOADER, "oracle/loader", "", "libc6")
    grown = grow([root], Market(index, mirror, doors), arch="amd64")
    chosen = grown.closure.chosen[RootPath(LOADER)]
    bring(Request(Path(store)), grown.packages, [chosen], doors)
    data = doors.store.read(chosen.entry.sha256)
    assert data is not None
    place = tmp_path_factory.mktemp("loader") / "ld.so"
    place.write_bytes(data)
    place.chmod(0o755)
    return place


COUNT = itertools.count()


@settings(
    max_examples=int(os.environ.get("MINBUILD_ORACLE_EXAMPLES", "40")),
    derandomize="MINBUILD_ORACLE_EXAMPLES" not in os.environ,  # a search is for make oracle
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(world=worlds())
def test_any_process_is_what_the_loader_makes_of_it(
    world: World, loader: Path, tmp_path: Path
) -> None:
    tree = tmp_path / str(next(COUNT))
    lay(world, tree, loader)
    found, lost = asked(tree)
    ours, missing = simulated(world)
    assert ours == found
    assert missing == lost
    target(float(len(found)))
    shutil.rmtree(tree)


def lay(world: World, tree: Path, loader: Path) -> None:
    for directory in (*DIRECTORIES, "/usr/lib64"):
        under(tree, RootPath(directory)).mkdir(parents=True, exist_ok=True)
    for path, text in world.links.items():
        under(tree, RootPath(path)).symlink_to(text)
    for path, data in world.files.items():
        under(tree, RootPath(path)).write_bytes(made.elf(data))
    shutil.copy(loader, under(tree, RootPath(LOADER)))
    (tree / "etc").mkdir()
    if world.preload:
        (tree / PRELOAD[1:]).write_text(" ".join(world.preload))
    if world.conf:
        files = offered(world)
        rows = cacheable(Catalog([files]), files.entries.keys(), machine("amd64"))
        (tree / CACHE[1:]).write_bytes(write_cache(rows, 0x303))
    (tree / "usr/lib64/ld-linux-x86-64.so.2").symlink_to(
        "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    )


def asked(tree: Path) -> tuple[list[str], list[str]]:
    """What the loader found, in its order and by real path, and what it did not."""
    said = trace(tree, "/a/app")
    found, lost = [], []
    for line in said.splitlines():
        if match := _FOUND.match(line):
            found.append(inside(tree, match[1]))
        elif match := _LOST.match(line):
            lost.append(match[1])
    assert found or lost or "statically linked" in said, said
    return [path for path in found if path != LOADER], sorted(set(lost))


def inside(tree: Path, path: str) -> str:
    """The real path below `tree` of a path that the loader printed."""
    at = path
    for _ in range(9):
        real = os.path.realpath(f"{tree}{at}")
        if real.startswith(f"{os.path.realpath(tree)}/"):
            return "/" + os.path.relpath(real, os.path.realpath(tree))
        at = real  # an absolute link led out of the tree: its text holds inside
    raise AssertionError(path)


def simulated(world: World) -> tuple[list[str], list[str]]:
    files = offered(world)
    loader = Loader(Catalog([files]), machine("amd64"), Waivers())
    loader.configure(configured(Catalog([files]), files.entries.keys(), machine("amd64")))
    process = loader.process(RootPath("/a/app"), elf_of(world, "/a/app"))
    # ld.so goes on without a preload that is not there, and lists it nowhere
    lost = [
        outcome.wanted
        for outcome in process.outcomes
        if isinstance(outcome, Missing) and not outcome.evidence.startswith(PRELOAD)
    ]
    loaded = [each.path for each in process.objects[1:] if each.path != LOADER]
    return loaded, sorted(set(lost))


def elf_of(world: World, path: str) -> Elf:
    facts = sniff(RootPath(path), made.elf(world.files[path]))
    assert isinstance(facts, Elf), facts
    return facts


def offered(world: World) -> Files:
    entries = dict(directories([*world.files, *world.links, f"{LIB}/x", "/usr/lib64/x"]))
    entries |= {
        RootPath(path): Entry(RootPath(path), Kind.LINK, 0o777, target=target)
        for path, target in world.links.items()
        if path not in ("/lib", "/lib64")
    }
    entries |= {RootPath(path): Entry(RootPath(path), Kind.FILE, 0o755) for path in world.files}
    ld = RootPath(LOADER)
    entries[ld] = Entry(ld, Kind.FILE, 0o755)
    link = RootPath("/usr/lib64/ld-linux-x86-64.so.2")
    entries[link] = Entry(
        link, Kind.LINK, 0o777, target=f"../lib/x86_64-linux-gnu/{ld[len(LIB) + 1 :]}"
    )
    facts: dict[RootPath, FileFacts] = {RootPath(path): elf_of(world, path) for path in world.files}
    for path, lines in ((CONF, world.conf), (PRELOAD, world.preload)):
        if lines:
            entries[path] = Entry(path, Kind.FILE, 0o644)
            facts[path] = Listing(lines)
    facts[ld] = Elf(64, True, "EM_X86_64", "ET_DYN", dynamic=True, soname="ld-linux-x86-64.so.2")
    return Files("world", entries, facts.get, lambda path: None)


def directories(paths: list[str]) -> Iterator[tuple[RootPath, Entry]]:
    for path in (*paths, *(f"{each}/x" for each in DIRECTORIES)):
        for parent in parents(RootPath(path)):
            yield parent, Entry(parent, Kind.DIRECTORY, 0o755)
