"""Of several modules of one name the one that depmod would list."""

from dataclasses import replace

import pytest

from minbuild.facts.model import Module, TextLines
from minbuild.paths import RootPath
from minbuild.resolve.closed_world import check_closed_world
from minbuild.resolve.kernel import InstalledKernel
from minbuild.resolve.model import NeedKind
from minbuild.resolve.package_view import PackageView
from tests.unit.resolve.builders import (
    Content,
    closed,
    listing_aliases,
    missing,
    named,
    package,
    regular,
    root,
)

TOP = "/usr/lib/modules/6.1-t"


def chosen(conf: str, *paths: str, more: dict[str, Content] | None = None) -> list[str]:
    content: dict[str, Content] = {"/boot/vmlinuz-6.1-t": None}
    content |= {
        f"{TOP}/{path}": Module(path.rpartition("/")[2].partition(".ko")[0].replace("-", "_"))
        for path in paths
    }
    if conf:
        content["/etc/depmod.d/a.conf"] = TextLines(tuple(conf.split("\n")))
    catalog = PackageView([package("linux", {**content, **(more or {})})])
    start = len(TOP) + 1
    return [path[start:] for path in InstalledKernel(catalog, "6.1-t").modules.values()]


@pytest.mark.parametrize(
    ("conf", "paths", "expected"),
    [
        ("", ["kernel/a/foo.ko", "updates/dkms/foo.ko.xz"], ["updates/dkms/foo.ko.xz"]),
        ("", ["kernel/fo-o.ko", "updates/fo_o.ko"], ["updates/fo_o.ko"]),
        ("", ["extra/updates/foo.ko", "kernel/foo.ko", "updates/b/foo.ko"], ["updates/b/foo.ko"]),
        ("", ["kernel/foo.ko", "extra/foo.ko", "weak-updates/foo.ko"], ["extra/foo.ko"]),
        ("", ["build/foo.ko", "kernel/source/foo.ko"], []),
        (
            "search updates extra built-in weak-updates",
            ["weak-updates/foo.ko", "kernel/foo.ko", "extra/bar.ko", "updates/bar.ko"],
            ["kernel/foo.ko", "updates/bar.ko"],
        ),
        ("search extra", ["kernel/foo.ko", "updates/foo.ko", "extra/foo.ko", "kernel/bar.ko"], ["extra/foo.ko", "kernel/bar.ko"]),
        ("# x\nsearch extra built-in\nsearch updates", ["kernel/foo.ko", "updates/foo.ko"], ["kernel/foo.ko"]),
        ("override foo * extra", ["kernel/foo.ko", "updates/foo.ko", "extra/foo.ko"], ["extra/foo.ko"]),
        ("override foo 6.2 extra", ["kernel/foo.ko", "updates/foo.ko", "extra/foo.ko"], ["updates/foo.ko"]),
        ("override foo ^6.1 kernel", ["kernel/foo.ko", "updates/foo.ko"], ["kernel/foo.ko"]),
        ("exclude updates", ["kernel/foo.ko", "updates/foo.ko"], ["kernel/foo.ko"]),
    ],
)  # fmt: skip
def test_the_directory_that_the_order_names_first_wins(
    conf: str, paths: list[str], expected: list[str]
) -> None:
    assert chosen(conf, *paths) == expected
    assert chosen(conf, *reversed(paths)) == expected


def test_of_two_files_of_a_name_the_one_in_etc_is_read() -> None:
    more: dict[str, Content] = {
        "/usr/lib/depmod.d/a.conf": TextLines(("search extra built-in",)),
        "/usr/lib/depmod.d/b.conf": TextLines(("override foo * x",)),
    }
    paths = ("kernel/foo.ko", "extra/foo.ko", "kernel/bar.ko", "x/foo.ko")
    assert chosen("search built-in extra", *paths, more=more) == ["kernel/bar.ko", "x/foo.ko"]
    assert chosen("", "kernel/foo.ko", "extra/foo.ko", more=more) == ["extra/foo.ko"]


@pytest.mark.parametrize("has_list", [False, True], ids=["facts", "list of aliases"])
def test_a_link_to_another_kernels_module_is_that_module(*, has_list: bool) -> None:
    linux = package(
        "linux",
        {
            "/boot/vmlinuz-6.1-t": None,
            f"{TOP}/kernel/dep.ko": Module("dep"),
            f"{TOP}/weak-updates/foo.ko": "-> ../../6.0-t/extra/foo.ko",
            "/usr/lib/modules/6.0-t/extra/foo.ko": Module("foo", ("dep",), aliases=("pci:v1d2*",)),
        },
    )
    wanted = (root("/boot/vmlinuz-6.1-t", "linux"), named(NeedKind.MODULE, "pci:v1d2sv3"))
    closure = closed(listing_aliases(linux) if has_list else linux, roots=wanted)
    assert missing(closure) == []
    assert {
        f"{TOP}/weak-updates/foo.ko",
        f"{TOP}/kernel/dep.ko",
        "/usr/lib/modules/6.0-t/extra/foo.ko",
    } <= set(regular(closure))
    assert RootPath(f"{TOP}/weak-updates/foo.ko") in closure.files


def test_a_list_of_aliases_says_what_a_module_is_for_without_its_facts() -> None:
    content: dict[str, Content] = {
        f"{TOP}/kernel/aesni.ko": Module("aesni", aliases=("cpu:type:x86*", "crypto-aes")),
        f"{TOP}/kernel/nic.ko": Module("nic", aliases=("pci:v1*", "auxiliary:nic.eth", "nic-1")),
    }
    files = listing_aliases(package("linux", content))
    asked: list[RootPath] = []
    kernel = InstalledKernel(PackageView([replace(files, facts=asked.append)]), "6.1-t")
    aesni, nic = (RootPath(path) for path in content)
    assert [kernel.is_for_processor(path) for path in (aesni, nic)] == [True, False]
    assert kernel.list_buses(aesni) == {"cpu"}
    assert kernel.list_buses(nic) == {"pci", "auxiliary"}
    assert asked == []


def test_a_path_whose_place_another_file_takes_means_that_one() -> None:
    paths = ("kernel/net/foo.ko", "updates/foo.ko", "kernel/net/bar.ko")
    content: dict[str, Content] = {
        f"{TOP}/{path}": Module(path.rpartition("/")[2][:-3]) for path in paths
    }
    kernel = InstalledKernel(PackageView([package("linux", content)]), "6.1-t")
    assert kernel.find("kernel/net/foo.ko").paths == (f"{TOP}/updates/foo.ko",)
    assert kernel.find("kernel/net/*").paths == (
        f"{TOP}/kernel/net/bar.ko",
        f"{TOP}/updates/foo.ko",
    )


@pytest.mark.parametrize(("gone", "found"), [("6.9", ["module b"]), ("6.10", [])])
def test_each_kernel_of_a_root_is_held_against_its_own_modules(gone: str, found: list[str]) -> None:
    """6.10 has more modules: what 6.9's need was looked for there."""
    top = "/usr/lib/modules"
    content: dict[str, Content] = {
        f"{top}/6.9/kernel/a.ko": Module("a", ("b",)),
        f"{top}/6.9/kernel/b.ko": Module("b"),
        f"{top}/6.10/kernel/b.ko": Module("b"),
        **{f"{top}/6.10/kernel/m{number}.ko": Module(f"m{number}") for number in range(5)},
    }
    del content[f"{top}/{gone}/kernel/b.ko"]
    files = package("", {"/lib": "-> usr/lib", **content})
    lacking = check_closed_world(files, arch="amd64")
    assert [f"{one.kind} {one.wanted}" for one in lacking] == found
