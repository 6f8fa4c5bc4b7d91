"""A tree proves itself closed, from its own facts."""

from collections.abc import Sequence

import pytest

from minbuild.facts.types import Elf, Files, Module, Script, Symbols
from minbuild.paths import RootPath
from minbuild.resolve.check import check
from minbuild.resolve.resolve import resolve
from minbuild.resolve.types import Closure, Missing, NeedKind
from tests.unit.resolve.world import (
    LIB,
    closed,
    libc,
    library,
    missing,
    named,
    note,
    package,
    program,
    root,
    versions,
    waiver,
)


def tree(closure: Closure, files: Sequence[Files], without: str = "") -> Files:
    """The files of a closure as one tree, perhaps with one of them gone."""
    by_name = {one.owner: one for one in files}
    entries = {path: one.entry for path, one in closure.chosen.items() if path != without}

    def whose(path: RootPath) -> Files:
        return by_name[closure.chosen[path].package]

    return Files(
        owner="",
        entries=entries,
        facts=lambda path: whose(path).facts(path),
        symbols=lambda path: whose(path).symbols(path),
    )


def found(problems: Sequence[Missing]) -> list[str]:
    return [f"{each.kind} {each.wanted}" for each in problems]


WORLD = (
    libc(),
    package(
        "app",
        {
            "/usr/bin/app": program("liba.so.1", dlopen=note("libd.so", "libe.so")),
            f"{LIB}/liba.so.1": "-> liba.so.1.2",
            f"{LIB}/liba.so.1.2": library("liba.so.1", "libc.so.6"),
            f"{LIB}/libe.so": library("libe.so"),
            "/usr/bin/run": Script("/usr/bin/env", "tool"),
            "/usr/bin/env": "-> ../../bin/busybox",
            "/usr/bin/busybox": program("libc.so.6"),
            "/usr/bin/tool": Script("/bin/sh"),
            "/usr/bin/sh": "-> busybox",
        },
    ),
    package(
        "linux",
        {
            "/boot/vmlinuz-6": None,
            "/usr/lib/modules/6/kernel/a.ko": Module("a", ("b",), soft_pre=("c", "gone")),
            "/usr/lib/modules/6/kernel/b.ko": Module("b", firmware=("b.bin",)),
            "/usr/lib/modules/6/kernel/c.ko": Module("c"),
            "/usr/lib/firmware/b.bin.xz": None,
        },
    ),
)
ROOTS = (
    root("/boot/vmlinuz-6", "linux"),
    root("/usr/bin/app"),
    root("/usr/bin/run"),
    named(NeedKind.MODULE, "a"),
)
CLOSURE = resolve(ROOTS, WORLD, arch="amd64")
NAMED = {need.path for need in CLOSURE.needs if not need.by.startswith("/")}
OTHERS = [
    path
    for path, one in CLOSURE.chosen.items()
    if path not in NAMED and one.entry.kind != "directory"
]


def test_a_closure_is_closed() -> None:
    assert not CLOSURE.missing
    assert check(tree(CLOSURE, WORLD), arch="amd64", closure=CLOSURE) == ()


@pytest.mark.parametrize("path", OTHERS)
def test_without_any_file_that_is_no_root_it_is_not(path: RootPath) -> None:
    assert check(tree(CLOSURE, WORLD, path), arch="amd64", closure=CLOSURE)


def test_a_finding_has_the_chain_of_needs() -> None:
    gone = f"{LIB}/liba.so.1.2"
    (problem,) = check(tree(CLOSURE, WORLD, gone), arch="amd64", closure=CLOSURE)[:1]
    assert problem.chain == ("boot/app", "/usr/bin/app", f"{LIB}/liba.so.1")


def one(app: Elf, symbols: Symbols, lib: Elf, offers: Symbols) -> Sequence[Missing]:
    files = (
        libc(),
        package("app", {"/usr/bin/app": (app, symbols), f"{LIB}/liba.so": (lib, offers)}),
    )
    return check(tree(closed(*files), files), arch="amd64")


def offers(*names: str) -> Symbols:
    return Symbols(names, (), ())


def wants(*names: str, weak: tuple[str, ...] = ()) -> Symbols:
    return Symbols((), names, weak)


def test_symbols_are_looked_for_in_the_process() -> None:
    app = program("liba.so")
    lib = library("liba.so", version_defs=("A_1",))
    assert not one(app, wants("f@A_1", "g"), lib, offers("f@A_1", "g@A_1"))
    assert found(one(app, wants("f@A_2"), lib, offers("f@A_1"))) == ["needed symbol f@A_2"]
    assert found(one(app, wants("h"), lib, offers("f@A_1"))) == ["needed symbol h"]


def test_a_weak_symbol_may_stay_undefined() -> None:
    assert not one(program("liba.so"), wants(weak=("h",)), library("liba.so"), offers())


def test_a_library_without_versions_serves_all_of_them() -> None:
    app = program("liba.so", version_needs=versions("liba.so", "A_9"))
    assert not one(app, wants("f@A_9"), library("liba.so"), offers("f"))


def test_a_version_that_a_library_lacks_is_said() -> None:
    app = program("liba.so", version_needs=versions("liba.so", "A_1", "A_2"))
    lib = library("liba.so", version_defs=("A_1",))
    (problem,) = one(app, wants(), lib, offers())
    assert (problem.wanted, problem.by) == ("version A_2", "/usr/bin/app")
    assert problem.evidence == "verneed A_2 of liba.so"


def test_what_was_dropped_or_waived_is_no_finding() -> None:
    files = (libc(), package("app", {"/usr/bin/app": program("liba.so", "libb.so")}))
    closure = closed(*files)
    assert missing(closure) == ["needed liba.so", "needed libb.so"]
    problems = check(
        tree(closure, files),
        arch="amd64",
        drop=(waiver("/usr/lib/*/liba.so"),),
        allow_missing=(waiver("libb.so"),),
    )
    assert problems == ()
