"""A tree proves itself closed, from its own facts."""

from collections.abc import Sequence

import pytest

from minbuild.facts.model import Elf, KernelConfig, Module, PackageFiles, Script, Symbols
from minbuild.paths import RootPath
from minbuild.resolve.closed_world import check_closed_world
from minbuild.resolve.error_messages import make_not_closed_error
from minbuild.resolve.model import Closure, NeedKind, UnmetNeed
from minbuild.resolve.policy import ResolvePolicy, Waivers
from minbuild.resolve.resolution import resolve
from tests.unit.resolve.builders import (
    LIB,
    Content,
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


def tree(closure: Closure, files: Sequence[PackageFiles], without: str = "") -> PackageFiles:
    """The files of a closure as one tree, perhaps with one of them gone."""
    by_name = {one.owner: one for one in files}
    entries = {path: one.entry for path, one in closure.files.items() if path != without}

    def whose(path: RootPath) -> PackageFiles:
        return by_name[closure.files[path].package]

    return PackageFiles(
        owner="",
        entries=entries,
        facts=lambda path: whose(path).facts(path),
        symbols=lambda path: whose(path).symbols(path),
    )


def found(problems: Sequence[UnmetNeed]) -> list[str]:
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
NAMED = {need.path for need in CLOSURE.needs if not need.needed_by.startswith("/")}
OTHERS = [
    path
    for path, one in CLOSURE.files.items()
    if path not in NAMED and one.entry.kind != "directory"
]


def test_a_closure_is_closed() -> None:
    assert not CLOSURE.unmet_needs
    assert check_closed_world(tree(CLOSURE, WORLD), arch="amd64", closure=CLOSURE) == ()


@pytest.mark.parametrize("path", OTHERS)
def test_without_any_file_that_is_no_root_it_is_not(path: RootPath) -> None:
    assert check_closed_world(tree(CLOSURE, WORLD, path), arch="amd64", closure=CLOSURE)


def test_a_finding_has_the_chain_of_needs() -> None:
    gone = f"{LIB}/liba.so.1.2"
    (problem,) = check_closed_world(tree(CLOSURE, WORLD, gone), arch="amd64", closure=CLOSURE)[:1]
    assert problem.chain == ("boot/app", "/usr/bin/app", f"{LIB}/liba.so.1")


def one(app: Elf, symbols: Symbols, lib: Elf, offers: Symbols) -> Sequence[UnmetNeed]:
    files = (
        libc(),
        package("app", {"/usr/bin/app": (app, symbols), f"{LIB}/liba.so": (lib, offers)}),
    )
    return check_closed_world(tree(closed(*files), files), arch="amd64")


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
    problems = check_closed_world(
        tree(closure, files),
        arch="amd64",
        policy=ResolvePolicy((waiver("/usr/lib/*/liba.so"),), (waiver("libb.so"),)),
    )
    assert problems == ()


KERNEL = "/boot/vmlinuz-6"
MODULE = "/usr/lib/modules/6/kernel/{}.ko"


def modules(wants: str, *, kernel: str | None = "printk@11", b: str = "b_do@22") -> list[str]:
    """What dangles of a module that depends on b, which depends on c."""
    content = {
        KERNEL: (KernelConfig({}), Symbols(tuple(kernel.split()), (), ())) if kernel else None,
        MODULE.format("a"): (Module("a", ("b",)), Symbols((), tuple(wants.split()), ("maybe",))),
        MODULE.format("b"): (Module("b", ("c",)), Symbols(tuple(b.split()), (), ())),
        MODULE.format("c"): (Module("c"), Symbols(("c_do",), (), ())),
        MODULE.format("d"): (Module("d"), Symbols(("d_do",), (), ())),
        "/lib": "-> usr/lib",
    }
    problems = check_closed_world(package("", content), arch="amd64")
    return [f"{each.wanted} [{each.evidence}] {','.join(each.looked)}" for each in problems]


def test_symbols_of_modules_come_from_the_kernel_and_what_they_depend_on() -> None:
    assert modules("printk@11 b_do@22 c_do") == []


def test_a_symbol_that_a_module_misses_is_named_with_where_it_was_looked_for() -> None:
    places = ",".join([KERNEL, MODULE.format("b"), MODULE.format("c")])
    assert modules("gone@33") == [f"symbol gone [undefined] {places}"]


def test_a_symbol_of_a_module_that_is_not_depended_on_is_missed() -> None:
    assert [each.partition(" [")[0] for each in modules("d_do")] == ["symbol d_do"]


def test_a_symbol_of_another_type_is_told_by_its_crc() -> None:
    expected = f"symbol b_do with CRC 23 [{MODULE.format('b')} has it with CRC 22: it is of another build] {MODULE.format('b')}"
    assert modules("b_do@23") == [expected]
    assert [each.split(" [")[0] for each in modules("printk@12")] == ["symbol printk with CRC 12"]


def test_without_the_kernels_exports_only_another_type_is_told() -> None:
    assert modules("gone@33 printk@12 b_do@22", kernel=None) == []
    assert len(modules("gone@33 b_do@23", kernel=None)) == 1


def test_a_symbol_can_be_waived_and_a_waiver_that_is_not_needed_is_told() -> None:
    app = (program("liba.so.1"), Symbols((), ("gone@A_1",), ()))
    files: dict[str, Content] = {"/usr/bin/app": app, f"{LIB}/liba.so.1": library("liba.so.1")}
    wanted = (waiver("symbol gone@*"), waiver("symbol other"), waiver("version X_1"))
    world = (libc(), package("app", files))
    closure = resolve(
        [root("/usr/bin/app")], world, arch="amd64", policy=ResolvePolicy(allow_missing=wanted)
    )
    # nothing is told of them before the tree is whole
    assert closure.unused_waivers == ()
    waivers = Waivers((), wanted)
    assert (
        check_closed_world(tree(closure, world), arch="amd64", closure=closure, waivers=waivers)
        == ()
    )
    assert [each.path for each in waivers.unused_by_check] == ["symbol other", "version X_1"]
    assert make_not_closed_error((), waivers.unused_by_check).what.startswith(
        "nothing needs the waiver for symbol other"
    )


DISKS = package(
    "linux",
    {
        "/boot/vmlinuz-6": None,
        "/boot/config-6": KernelConfig({"EXT4_FS": "m", "FAT_DEFAULT_CODEPAGE": "437"}),
        **{
            f"/usr/lib/modules/6/kernel/{name}.ko": Module(name, requests=requests, aliases=aliases)
            for name, requests, aliases in (
                ("ext4", ("crypto-crc32c",), ("fs-ext4",)),
                ("crc32c_generic", (), ("crypto-crc32c",)),
                ("fat", (), ()),
                ("nls_cp437", (), ()),
            )
        },
    },
)


@pytest.mark.parametrize("name", ["ext4", "crc32c_generic", "fat", "nls_cp437"])
def test_a_module_that_the_kernel_will_ask_for_is_in_the_tree(name: str) -> None:
    roots = (
        root("/boot/vmlinuz-6", "linux"),
        named(NeedKind.KCONFIG, "EXT4_FS"),
        named(NeedKind.MODULE, "fat"),
    )
    closure = resolve(roots, (DISKS,), arch="amd64")
    assert not closure.unmet_needs
    path = f"/usr/lib/modules/6/kernel/{name}.ko"
    (unmet,) = check_closed_world(
        tree(closure, (DISKS,), without=path), arch="amd64", closure=closure
    )
    assert unmet.wanted in (path, "crypto-crc32c")
