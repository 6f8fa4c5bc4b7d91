"""Chains of needs, and what everything weighs."""

from minbuild.explain.weights import NodeWeight
from minbuild.explain.why import find_chains
from minbuild.paths import RootPath
from minbuild.resolve.model import Need, NeedKind
from tests.unit.resolve.builders import LIB, closed, graph_of, libc, library, package, program, root

FILES = (
    libc(),
    package(
        "app",
        {
            "/usr/bin/app": program("liba.so", "libb.so"),
            "/usr/bin/two": program("libb.so", interpreter="/lib64/ld-linux-x86-64.so.2"),
            f"{LIB}/liba.so": library("liba.so", "libonly.so", "libb.so"),
            f"{LIB}/libb.so": library("libb.so"),
            f"{LIB}/libonly.so": library("libonly.so"),
        },
    ),
)
CLOSURE = closed(*FILES, roots=(root("/usr/bin/app"), root("/usr/bin/two", component="boot/two")))


def short(chain: tuple[Need, ...]) -> list[str]:
    return [chain[0].needed_by, *(need.path.rpartition("/")[2] for need in chain)]


def test_chains_come_shortest_first() -> None:
    found = find_chains(CLOSURE.needs, RootPath(f"{LIB}/libb.so"))
    assert [short(chain) for chain in found] == [
        ["boot/app", "app", "libb.so"],
        ["boot/two", "two", "libb.so"],
        ["boot/app", "app", "liba.so", "libb.so"],
    ]
    assert find_chains(CLOSURE.needs, RootPath(f"{LIB}/libb.so"), limit=1) == found[:1]


def test_a_path_that_is_not_there_has_no_chain() -> None:
    assert find_chains(CLOSURE.needs, RootPath("/usr/bin/gone")) == ()


def test_circles_end() -> None:
    one, two = RootPath("/one"), RootPath("/two")
    needs = [
        Need(one, "boot/x", NeedKind.ROOT, ""),
        Need(two, one, NeedKind.NEEDED, ""),
        Need(one, two, NeedKind.NEEDED, ""),
    ]
    assert [len(chain) for chain in find_chains(needs, two)] == [2]
    assert [len(chain) for chain in find_chains(needs, one)] == [1]


def test_added_size_is_what_would_go() -> None:
    graph = graph_of(CLOSURE)
    weights = graph.compute_weights()
    own = {path: one.entry.size for path, one in CLOSURE.files.items()}
    liba, only = RootPath(f"{LIB}/liba.so"), RootPath(f"{LIB}/libonly.so")
    assert weights[liba] == NodeWeight(
        own[liba], own[liba] + own[only] + own[RootPath(f"{LIB}/libb.so")], own[liba] + own[only]
    )
    assert graph.find_removed([liba]) == {liba, only}


def test_what_a_component_alone_brings_goes_with_it() -> None:
    gone = graph_of(CLOSURE).find_removed(["boot/two"])
    assert gone == {"boot/two", "/usr/bin/two"}
    assert graph_of(CLOSURE).compute_weights()["boot/two"].added == len("/usr/bin/two")


def test_every_path_belongs_to_the_first_component_that_leads_to_it() -> None:
    owners = {path: one.component for path, one in CLOSURE.files.items()}
    assert owners[RootPath("/usr/bin/two")] == "boot/two"
    assert {owners[path] for path in owners if path != "/usr/bin/two"} == {"boot/app"}
