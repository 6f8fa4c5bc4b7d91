"""What would go, break and be saved without something."""

from hypothesis import given
from hypothesis import strategies as st

from minbuild.explain.removal import simulate_removal, suggest_removals
from minbuild.explain.weights import ClosureGraph
from minbuild.paths import RootPath
from minbuild.resolve.model import Need, NeedKind

EDGES = tuple(
    Need(RootPath(path), by, NeedKind.NEEDED, "x")
    for by, path in (
        ("boot/a", "/a"), ("boot/b", "/b"), ("/a", "/lib"), ("/b", "/lib"), ("/a", "/only"),
        ("kernel/manifest", "/boot/vmlinuz-1"),
    )
)  # fmt: skip
SIZES = {"/a": 1, "/b": 2, "/lib": 40, "/only": 8, "/boot/vmlinuz-1": 100}
GRAPH = ClosureGraph(SIZES, EDGES)


def test_what_only_it_leads_to_goes_too() -> None:
    found = simulate_removal(GRAPH, EDGES, ["/a"])
    assert (found.removed, found.size) == (("/a", "/only"), 9)
    assert [need.needed_by for need in found.broken] == ["boot/a"]


def test_what_others_need_breaks_them() -> None:
    found = simulate_removal(GRAPH, EDGES, ["/lib"])
    assert [need.needed_by for need in found.broken] == ["/a", "/b"]
    assert found.affected == ("boot/a", "boot/b")


def test_a_component_goes_with_all_its_own_and_breaks_who_needs_it() -> None:
    found = simulate_removal(GRAPH, EDGES, ["boot/a"], {"boot/b": ("boot/a",), "boot/a": ()})
    assert (found.removed, found.broken, found.needed_by) == (("/a", "/only"), (), ("boot/b",))


def test_two_together_take_what_they_share() -> None:
    assert simulate_removal(GRAPH, EDGES, ["/a", "/b"]).size == sum(SIZES.values()) - 100


def test_the_largest_is_suggested_first_and_the_kernel_never() -> None:
    found = suggest_removals(GRAPH, EDGES, {}, 10)
    assert [(name, gone.size) for name, gone in found] == [
        (
            "boot/a",
            9,
        ),  # and not /only, which breaks nothing but /a, nor /lib, which both start with
        ("boot/b", 2),
    ]


def test_what_the_manifest_keeps_is_suggested_path_by_path() -> None:
    """No loader, library or shell that others start with; the whole where it has several."""
    rows = (
        ("services/manifest", "/curl", NeedKind.ROOT), ("services/manifest", "/top", NeedKind.ROOT),
        ("boot/init", "/init", NeedKind.ROOT), ("/init", "/sh", NeedKind.SHEBANG),
        ("/curl", "/libcurl", NeedKind.NEEDED), ("/libcurl", "/libc", NeedKind.NEEDED),
        ("/sh", "/libc", NeedKind.NEEDED), ("/libc", "/ld", NeedKind.INTERP),
        ("/sh", "/plugin", NeedKind.DLOPEN), ("/link", "/sh", NeedKind.LINK),
    )  # fmt: skip
    edges = [Need(RootPath(path), by, kind, "host.yaml:5:5") for by, path, kind in rows]
    sizes = {"/curl": 8, "/top": 4, "/libcurl": 900, "/libc": 2000, "/ld": 200, "/init": 1,
             "/sh": 800, "/plugin": 3}  # fmt: skip
    found = suggest_removals(ClosureGraph(sizes, edges), edges, {}, 10)
    names = [name for name, _ in found]
    assert names == ["services/manifest", "/curl", "boot/init", "/top"]
    assert {name: gone.size for name, gone in found}["/curl"] == 908
    alone = [need for need in edges if need.path != "/top"]
    names = [name for name, _ in suggest_removals(ClosureGraph(sizes, alone), alone, {}, 10)]
    assert names == ["/curl", "boot/init"]


nodes = st.integers(0, 7)


@given(st.sets(st.tuples(nodes, nodes)), st.sets(nodes, min_size=1), nodes)
def test_what_goes_is_the_added_size(pairs: set[tuple[int, int]], tops: set[int], one: int) -> None:
    edges = [Need(RootPath(f"/{path}"), f"/{by}", NeedKind.NEEDED, "") for by, path in pairs]
    edges += [Need(RootPath(f"/{top}"), "top/t", NeedKind.ROOT, "") for top in tops]
    graph = ClosureGraph({f"/{number}": 2**number for number in range(8)}, edges)
    added = graph.compute_added()
    name = f"/{one}"
    if name in added:
        assert simulate_removal(graph, edges, [name]).size == added[name]
