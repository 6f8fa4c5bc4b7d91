"""Random roots that no packager would make, on disk and as our resolver sees them."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

from minbuild.facts.config_files import build_ld_cache, parse_ld_cache
from minbuild.facts.detect import read_facts
from minbuild.facts.model import Elf, FileEntry, FileFacts, LoaderConfigLines, PackageFiles
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath, list_parents, to_host_path
from minbuild.resolve.builtin_tables import find_architecture
from minbuild.resolve.loader_config import LD_SO_CACHE, LD_SO_CONF, LD_SO_PRELOAD, list_cacheable
from minbuild.resolve.package_view import PackageView
from tests.support import elf as made

LIB = "/usr/lib/x86_64-linux-gnu"
LOADER = f"{LIB}/ld-linux-x86-64.so.2"
LOADER_LINK = "/usr/lib64/ld-linux-x86-64.so.2"
PROGRAM = RootPath("/a/app")
AMD64 = 0x303
DIRECTORIES = (
    "", "/a", "/a/sub", "/b", "/b/sub", "/a/lib/x86_64-linux-gnu", "/usr/lib/own", LIB, "/usr/lib",
)  # fmt: skip
SPLIT = ("/lib", "/lib/x86_64-linux-gnu")
LINKS = {"/c": "a", "/a/up": "../b", "/lib": "usr/lib", "/lib64": "usr/lib64", "/turn": "turn"}
SEARCH = (
    "$ORIGIN", "${ORIGIN}/sub", "$ORIGIN/../b", "/a", "/b", "/c", "/c/sub", "/a/$LIB", "/a/up",
    "/gone/../a", "/a/../b", "/turn/a", "/lib", "$ORIGINAL", "/a/${PLATFORM}/..", "/", "/a/app",
)  # fmt: skip
NAMES = (*(f"lib{number}.so" for number in range(5)), "lib01.so", "libx86_64.so")
NEEDS = (
    *NAMES, "lib${PLATFORM}.so", "/b/lib0.so", "$ORIGIN/sub/lib1.so", "/turn/lib2.so",
    "alias.so", "ld-linux-x86-64.so.2",
)  # fmt: skip
CONFIGURED = ("/a", "/b", "/c", "/a/up", "/usr/lib/own", LIB, "/lib", "/gone")
AIMS = ("../b/", "/a/", "", "/b/lib0.so/")
"""Where links point, before their own name: "" is to themselves, the last is through a file."""
NODEFLIB, PIE = 0x800, 0x08000000
SPOILT = (b"", b"\x7fELF", b"no library of any kind", made.elf(made.Elf(dynamic=False)))
"""What the loader gives up at."""


@dataclass(frozen=True)
class World:
    files: Mapping[str, made.Elf | bytes]
    links: Mapping[str, str]
    conf: tuple[str, ...] = ()
    """Directories that a cache is made of."""
    cache: Mapping[str, str] = field(default_factory=dict)
    """What a cache lists instead: stale, as like as not."""
    preload: tuple[str, ...] = ()
    split: bool = False
    """/lib and /usr/lib are two directories."""


SEARCHES = st.lists(st.sampled_from(SEARCH), min_size=1, max_size=3, unique=True).map(":".join)
EMPTY = "\0"
"""Of a string table: an entry that is there, and says nothing."""
PATHS = st.one_of(
    st.tuples(SEARCHES, st.just("")),
    st.tuples(SEARCHES, st.just("")),
    st.tuples(st.just(""), SEARCHES),
    st.tuples(SEARCHES, SEARCHES),
    st.sampled_from((("", ""), (EMPTY, ""), ("", EMPTY))),
)
"""RPATH and RUNPATH."""
FILTERS = st.lists(
    st.one_of(st.sampled_from(NEEDS), st.sampled_from(NEEDS).map("?{}".format)), max_size=2
)
"""Of a library: ld.so's list begins behind the program, and so behind the program's own filtees."""
NEEDED = st.lists(st.sampled_from(NEEDS), min_size=1, max_size=4, unique=True)


@st.composite
def objects(draw: st.DrawFn, soname: str, interp: str = "") -> made.Elf:
    """One object; now and then one that the loader passes over."""
    foreign = not interp and draw(st.integers(0, 7)) == 0
    other = draw(st.sampled_from(("machine", "class", "order"))) if foreign else ""
    rpath, runpath = draw(PATHS)
    return made.Elf(
        soname=soname,
        interp=interp,
        needed=draw(NEEDED),
        filters=draw(FILTERS) if not interp and draw(st.integers(0, 3)) == 0 else (),
        filters_first=draw(st.booleans()),
        rpath=rpath,
        runpath=runpath,
        df_1=draw(st.sampled_from((0, 0, 0, 0, NODEFLIB))),
        machine=made.MACHINES["arm64" if other == "machine" else "amd64"],
        bits=32 if other == "class" else 64,
        big=other == "order",
    )


SONAMES = st.one_of(st.just(""), st.sampled_from((*NAMES, "alias.so", "/b/lib0.so")))


@st.composite
def worlds(draw: st.DrawFn, *, spoilt: bool = False) -> World:
    """A program and libraries around it; `spoilt`: with files that the loader gives up at."""
    files: dict[str, made.Elf | bytes] = {}
    links = dict(LINKS)
    split = draw(st.integers(0, 3)) == 0
    if split:
        del links["/lib"]
    places = st.sampled_from((*DIRECTORIES, *SPLIT) if split else DIRECTORIES)
    for name in NAMES:
        for directory in draw(st.sets(places, min_size=1, max_size=3)):
            path = f"{directory}/{name}"
            if draw(st.integers(0, 3)) == 0:
                links[path] = draw(st.sampled_from(AIMS)) + name
                continue
            other = draw(st.integers(0, 2)) == 0
            files[path] = draw(objects(draw(SONAMES) if other else name))
            if spoilt and draw(st.integers(0, 5)) == 0:
                files[path] = draw(st.sampled_from(SPOILT))
    files[PROGRAM] = draw(objects(draw(SONAMES), "/lib64/ld-linux-x86-64.so.2"))
    preload = draw(st.one_of(st.just(()), st.tuples(st.sampled_from((*NAMES, "/b/lib0.so")))))
    conf: list[str] = []
    cached: dict[str, str] = {}
    if draw(st.booleans()):
        conf = draw(st.lists(st.sampled_from(CONFIGURED), unique=True))
    else:
        listed = st.sampled_from((*sorted(files.keys() - {PROGRAM}), *links, "/gone/lib0.so"))
        cached = draw(st.dictionaries(st.sampled_from(NAMES), listed))
    return World(files, links, tuple(conf), cached, preload, split)


def write_world(world: World, tree: Path, loader: Path) -> None:
    """Write the world down, around `loader`."""
    split = SPLIT if world.split else ()
    for directory in (*DIRECTORIES, *split, "/usr/lib64", "/etc"):
        to_host_path(tree, RootPath(directory)).mkdir(parents=True, exist_ok=True)
    for path, text in world.links.items():
        to_host_path(tree, RootPath(path)).symlink_to(text)
    for path, content in world.files.items():
        to_host_path(tree, RootPath(path)).write_bytes(as_bytes(content))
    shutil.copy(loader, to_host_path(tree, RootPath(LOADER)))
    to_host_path(tree, RootPath(LOADER_LINK)).symlink_to(
        f"../lib/x86_64-linux-gnu/{LOADER.rpartition('/')[2]}"
    )
    if world.preload:
        (tree / LD_SO_PRELOAD[1:]).write_text(" ".join(world.preload))
    data = cache_of(world)
    if data:
        (tree / LD_SO_CACHE[1:]).write_bytes(data)


def as_bytes(content: made.Elf | bytes) -> bytes:
    return content if isinstance(content, bytes) else made.elf(content)


def cache_of(world: World) -> bytes:
    """The ld.so.cache of the world; empty for none."""
    if world.cache:
        return build_ld_cache(world.cache.items(), AMD64)
    files = as_package_files(world)
    rows = list_cacheable(
        PackageView([files], merged=False), files.entries.keys(), find_architecture("amd64")
    )
    return build_ld_cache(rows, AMD64) if world.conf else b""


def as_package_files(world: World, *, with_cache: bool = False) -> PackageFiles:
    """The world as a package of everything; `with_cache`: instead of what it is made of."""
    split = [f"{each}/x" for each in SPLIT] if world.split else []
    entries = dict(_directories([*world.files, *world.links, *split, f"{LIB}/x", LOADER_LINK]))
    links = dict(world.links)
    links[LOADER_LINK] = f"../lib/x86_64-linux-gnu/{LOADER.rpartition('/')[2]}"
    for path, target in links.items():
        entries[RootPath(path)] = FileEntry(RootPath(path), FileType.LINK, 0o777, target=target)
    facts: dict[RootPath, FileFacts] = {}
    for path, content in world.files.items():
        known = read_facts(RootPath(path), as_bytes(content))
        if known is not None:
            facts[RootPath(path)] = known
    facts[RootPath(LOADER)] = Elf(
        64, True, "EM_X86_64", "ET_DYN", dynamic=True, soname="ld-linux-x86-64.so.2"
    )
    if world.preload:
        facts[LD_SO_PRELOAD] = LoaderConfigLines(world.preload)
    if world.cache or (with_cache and world.conf):
        listed = parse_ld_cache(cache_of(world))
        assert isinstance(listed, LoaderConfigLines)
        facts[LD_SO_CACHE] = listed
    elif world.conf:
        facts[LD_SO_CONF] = LoaderConfigLines(world.conf)
    for path in (*facts, *map(RootPath, world.files)):
        entries[path] = FileEntry(path, FileType.FILE, 0o755)
    return PackageFiles("world", entries, facts.get, lambda path: None)


def _directories(paths: list[str]) -> Iterator[tuple[RootPath, FileEntry]]:
    for path in (*paths, *(f"{each}/x" for each in DIRECTORIES)):
        for parent in list_parents(RootPath(path)):
            yield parent, FileEntry(parent, FileType.DIRECTORY, 0o755)
