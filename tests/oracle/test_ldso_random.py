"""Our loader against the real one, over worlds that no packager would make.

As many worlds as MINBUILD_ORACLE_EXAMPLES says are searched anew each time, 3,000 where the oracle
is asked whole; in the ordinary suite it is always the same few.
"""

import itertools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings, target

from minbuild.facts.model import Elf
from minbuild.paths import RootPath
from minbuild.pipeline.package_selection import PackageSource, select_packages
from minbuild.pipeline.resolved_host import extract_chosen_files
from minbuild.pipeline.session import BuildRequest
from minbuild.resolve.builtin_tables import Architecture, find_architecture
from minbuild.resolve.ldso import DynamicLoader
from minbuild.resolve.loader_config import LD_SO_PRELOAD, read_loader_config
from minbuild.resolve.model import NeedKind, Root, UnmetNeed
from minbuild.resolve.package_view import LINK_LOOP, PackageView
from minbuild.resolve.policy import Waivers
from tests.oracle.chroot import trace_loader
from tests.oracle.random_roots import (
    LINKS,
    LOADER,
    PROGRAM,
    SPOILT,
    World,
    as_package_files,
    worlds,
    write_world,
)
from tests.oracle.trees import WHOLE
from tests.support import elf as made

pytestmark = [pytest.mark.oracle, pytest.mark.mirror]

EXAMPLES = int(os.environ.get("MINBUILD_ORACLE_EXAMPLES") or (3000 if WHOLE else 0))
SEARCHED = settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,  # a user's suite is the same each time; a search is to be asked for
    deadline=None,
    print_blob=True,
    phases=tuple(phase for phase in Phase if phase is not Phase.explain),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TURNING_FOR_EVER = (-signal.SIGXCPU, -signal.SIGKILL, -signal.SIGSEGV)
"""How ld.so ends over libraries that filter each other: by its limits."""
COUNT = itertools.count()
_FOUND = re.compile(r"^\t(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_LOST = re.compile(r"^\t(\S+) => not found$", re.MULTILINE)
_FATAL = re.compile(r": error while loading shared libraries: (\S+): (?!cannot open)")
LIB = re.compile("^/lib/")
_GIVEN_UP = re.compile(r"(\S+) \(([^()]+)\)")


@dataclass(frozen=True, slots=True)
class LoaderOutcome:
    """One process as a loader sees it."""

    loaded: tuple[str, ...] = ()
    """Real paths in load order; ld.so itself is left out."""
    missing: tuple[str, ...] = ()
    """What was not found, sorted."""
    fatal: str = ""
    """The file that the loader gave up at, or its name: then nothing else is said."""


@pytest.fixture(scope="module")
def loader(package_source: PackageSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's own loader."""
    root = Root(NeedKind.ROOT, LOADER, "oracle/loader", "", "libc6")
    selection = select_packages([root], package_source, arch="amd64")
    chosen = selection.closure.files[RootPath(LOADER)]
    path = tmp_path_factory.mktemp("loader")
    extract_chosen_files(BuildRequest(path), selection.packages, [chosen], package_source.session)
    data = package_source.session.store.read(chosen.entry.sha256)
    assert data is not None
    (path / "ld.so").write_bytes(data)
    (path / "ld.so").chmod(0o755)
    return path / "ld.so"


TURNING = World(
    files={
        "/a/app": made.Elf(interp="/lib64/ld-linux-x86-64.so.2", needed=["lib1.so"], rpath="/a"),
        "/b/lib1.so": made.Elf(soname="lib1.so", needed=["lib2.so"]),
        "/b/lib2.so": made.Elf(soname="lib2.so"),
    },
    links={**LINKS, "/a/lib1.so": "lib1.so", "/a/lib2.so": "lib2.so"},
    conf=("/a", "/b"),
)
"""A link to itself ends a search path, but ldconfig passes over it."""


@SEARCHED
@example(world=TURNING)
@given(world=worlds())
def test_any_process_is_what_the_loader_makes_of_it(
    world: World, loader: Path, tmp_path: Path
) -> None:
    with write_tree(world, tmp_path, loader) as tree:
        theirs = run_loader(tree)
    asker = detect_architecture(loader)
    for ours in (simulate_loader(world, asker), simulate_loader(world, asker, with_cache=True)):
        assert_alike(theirs, ours, world)
    target(float(len(theirs.loaded)))


ABOVE = World(
    files={
        "/a/app": made.Elf(interp="/lib64/ld-linux-x86-64.so.2", needed=["lib0.so"], rpath="/"),
        "/lib0.so": made.Elf(soname="lib0.so", needed=["lib4.so"], rpath="$ORIGIN/../b"),
        "/b/lib4.so": SPOILT[0],
    },
    links=LINKS,
)
"""A path that leads above the root stays in it."""


@SEARCHED
@example(world=ABOVE)
@given(world=worlds(spoilt=True))
def test_the_loader_gives_up_where_we_do(world: World, loader: Path, tmp_path: Path) -> None:
    with write_tree(world, tmp_path, loader) as tree:
        theirs = run_loader(tree)
    assert_alike(theirs, simulate_loader(world, detect_architecture(loader)), world)
    target(float(len(theirs.loaded)))


@contextmanager
def write_tree(world: World, path: Path, loader: Path) -> Iterator[Path]:
    tree = path / str(next(COUNT))
    write_world(world, tree, loader)
    yield tree
    shutil.rmtree(tree)


def run_loader(tree: Path) -> LoaderOutcome:
    """What the loader says of the program."""
    result = trace_loader(tree, PROGRAM)
    assume(result.returncode not in TURNING_FOR_EVER)
    if result.returncode:
        match = _FATAL.search(result.stderr)
        assert match, result
        return LoaderOutcome(fatal=resolve_inside(tree, match[1]) if "/" in match[1] else match[1])
    paths = [resolve_inside(tree, path) for path in _FOUND.findall(result.stdout)]
    missing = set(_LOST.findall(result.stdout))
    assert paths or missing or "statically linked" in result.stdout, result
    return LoaderOutcome(tuple(path for path in paths if path != LOADER), tuple(sorted(missing)))


def normalise(outcome: LoaderOutcome, world: World) -> LoaderOutcome:
    """The outcome, without a difference that is none: /lib may be a link to /usr/lib."""
    if world.split:
        return outcome
    return replace(
        outcome, missing=tuple(sorted({LIB.sub("/usr/lib/", one) for one in outcome.missing}))
    )


def assert_alike(theirs: LoaderOutcome, ours: LoaderOutcome, world: World) -> None:
    """Hold ours against theirs: asked to list, ld.so tells of auxiliaries that are missing, too."""
    theirs, ours = normalise(theirs, world), normalise(ours, world)
    more = {
        name for name in theirs.missing if name not in ours.missing and _is_auxiliary(name, world)
    }
    assert ours == replace(
        theirs, missing=tuple(name for name in theirs.missing if name not in more)
    )


def _is_auxiliary(name: str, world: World) -> bool:
    """Tell whether a library asks for it so; tokens of its name are replaced by then."""
    names = {
        text
        for content in world.files.values()
        if isinstance(content, made.Elf)
        for text in content.filters
    }
    return any(
        fnmatchcase(name, re.sub(r"\$\{?[A-Z]+\}?", "*", text[1:]))
        for text in names
        if text.startswith("?")
    )


def resolve_inside(tree: Path, path: str) -> str:
    """The real path below `tree` of a path that the loader printed."""
    at = path
    for _ in range(9):
        at = re.sub(r"^(/+\.\.)+/", "/", at)  # above the root is the root
        real = os.path.realpath(f"{tree}{at}")
        if real.startswith(f"{os.path.realpath(tree)}/"):
            return "/" + os.path.relpath(real, os.path.realpath(tree))
        at = real  # an absolute link led out of the tree: its text holds inside
    raise AssertionError(path)


@cache
def detect_architecture(loader: Path) -> Architecture:
    """The machine as its loader sees it: $PLATFORM is haswell on many of Intel's."""
    output = subprocess.run(
        [loader, "--list-diagnostics"], capture_output=True, text=True, check=True
    )
    match = re.search(r'^dl_platform="(\w+)"$', output.stdout, re.MULTILINE)
    assert match, output.stdout
    return replace(find_architecture("amd64"), platform=match[1])


def simulate_loader(
    world: World, machine: Architecture, *, with_cache: bool = False
) -> LoaderOutcome:
    """What we say of the program."""
    files = as_package_files(world, with_cache=with_cache)
    catalog = PackageView([files], merged=False)
    loader = DynamicLoader(catalog, machine, Waivers())
    loader.configure(read_loader_config(catalog, files.entries.keys(), machine))
    elf = files.facts(PROGRAM)
    assert isinstance(elf, Elf)
    process = loader.load_process(PROGRAM, elf)
    # ld.so goes on without a preload that is not there, and lists it nowhere
    lacks = [
        one
        for one in process.results
        if isinstance(one, UnmetNeed) and not one.evidence.startswith(LD_SO_PRELOAD)
    ]
    for lack in lacks:
        match = _GIVEN_UP.fullmatch(lack.looked[-1]) if lack.looked else None
        if match and match[2] != LINK_LOOP:
            if match[2] == "no dynamic section" and "/" not in lack.wanted:
                return LoaderOutcome(fatal=lack.wanted)  # the loader knows its name no more
            reached = catalog.look_up(match[1])
            assert reached is not None
            return LoaderOutcome(fatal=str(catalog.resolve_links(reached.path)))
    loaded = tuple(each.path for each in process.objects[1:] if each.path != LOADER)
    return LoaderOutcome(loaded, tuple(sorted({lack.wanted for lack in lacks})))
