"""What holds for any packages: unique, monotone, idempotent, and every chain is real."""

import random
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from minbuild.explain.why import find_chains
from minbuild.facts.model import PackageFiles
from minbuild.manifest.model import Location, Priority
from minbuild.manifest.rule_files import Rule, RuleSet
from minbuild.resolve import resolution
from minbuild.resolve.model import Closure, NeedKind, Root
from minbuild.resolve.policy import ResolvePolicy
from tests.unit.resolve.builders import LIB, Content, graph_of, libc, library, package, program

HERE = Location("components/rules/r.yaml", 1, 1)
BOOK = RuleSet(
    (
        Rule(HERE, (f"{LIB}/lib9.so", f"{LIB}/lib8.so"), linked="lib[0-4].so"),
        Rule(HERE, ("/usr/bin/p[34]",), file="/usr/bin/p1"),
        Rule(HERE, (f"{LIB}/lib7.so",), file=f"{LIB}/lib8.so", priority=Priority.SUGGESTED),
    )
)
resolve = partial(resolution.resolve, policy=ResolvePolicy(rules=BOOK))
NUMBERS = st.integers(0, 9)
SONAMES = st.lists(NUMBERS.map(lambda n: f"lib{n}.so"), max_size=4, unique=True)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[PackageFiles, ...]:
    """Up to ten libraries and five programs that need any of them, in three packages."""
    made: list[dict[str, Content]] = [{}, {}, {}]
    for number in draw(st.sets(NUMBERS)):
        soname = f"lib{number}.so"
        content = made[draw(st.integers(0, 2))]
        elf = library(soname, *draw(SONAMES))
        if draw(st.booleans()):
            content[f"{LIB}/{soname}"] = f"-> {soname}.1"
            content[f"{LIB}/{soname}.1"] = elf
        else:
            content[f"{LIB}/{soname}"] = elf
    for number in range(5):
        made[draw(st.integers(0, 2))][f"/usr/bin/p{number}"] = program(*draw(SONAMES))
    return (libc(), *(package(name, content) for name, content in zip("abc", made, strict=True)))


def wanted(world: Sequence[PackageFiles], numbers: Sequence[int]) -> list[Root]:
    found = []
    for number in numbers:
        path = f"/usr/bin/p{number}"
        (owner,) = (one.owner for one in world if path in one.entries)
        found.append(Root(NeedKind.ROOT, path, f"boot/c{number}", f"c.yaml:{number}:1", owner))
    return found


PROGRAMS = st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True)


@given(worlds(), PROGRAMS, st.randoms(use_true_random=False))
def test_the_order_of_packages_changes_nothing(
    world: tuple[PackageFiles, ...], numbers: list[int], chance: random.Random
) -> None:
    roots = wanted(world, numbers)
    shuffled = list(world)
    chance.shuffle(shuffled)
    assert resolve(roots, world, arch="amd64") == resolve(roots, shuffled, arch="amd64")


@given(worlds(), PROGRAMS, PROGRAMS)
def test_more_roots_never_take_a_path_away(
    world: tuple[PackageFiles, ...], numbers: list[int], more: list[int]
) -> None:
    small = resolve(wanted(world, numbers), world, arch="amd64")
    every = list(dict.fromkeys([*numbers, *more]))
    large = resolve(wanted(world, every), world, arch="amd64")
    assert set(small.files) <= set(large.files)
    assert set(small.needs) <= set(large.needs)


@given(worlds(), PROGRAMS)
def test_what_was_chosen_as_roots_chooses_itself(
    world: tuple[PackageFiles, ...], numbers: list[int]
) -> None:
    once = resolve(wanted(world, numbers), world, arch="amd64")
    again = resolve(
        [
            Root(NeedKind.ROOT, path, one.component, "", one.package)
            for path, one in once.files.items()
        ],
        world,
        arch="amd64",
    )
    assert set(once.files) == set(again.files)


@given(worlds(), PROGRAMS)
def test_every_path_has_a_chain_of_real_needs(
    world: tuple[PackageFiles, ...], numbers: list[int]
) -> None:
    closure = resolve(wanted(world, numbers), world, arch="amd64")
    for path, one in closure.files.items():
        chain = find_chains(closure.needs, path, limit=1)[0]
        assert chain[-1].path == path
        assert not chain[0].needed_by.startswith("/")
        assert all(above.path == below.needed_by for above, below in pairwise(chain))
        assert set(chain) <= set(closure.needs)
        assert one.component.startswith("boot/")


@given(worlds(), PROGRAMS)
def test_added_size_is_what_goes(world: tuple[PackageFiles, ...], numbers: list[int]) -> None:
    closure: Closure = resolve(wanted(world, numbers), world, arch="amd64")
    graph = graph_of(closure)
    for node, weight in graph.compute_weights().items():
        assert weight.own <= weight.added <= weight.closure
        assert weight.added == graph.sum_sizes(graph.find_removed([node]))
