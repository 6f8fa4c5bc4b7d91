"""The module index."""

from typing import Any

from minbuild.facts.model import Module
from minbuild.paths import RootPath
from minbuild.resolve.depmod import (
    render_modules_alias,
    render_modules_dep,
    render_modules_softdep,
    render_modules_weakdep,
)

TOP = "/usr/lib/modules/6.1"


def module(name: str, *depends: str, **more: Any) -> tuple[RootPath, Module]:
    return RootPath(f"{TOP}/kernel/{name}.ko.xz"), Module(name, depends=depends, **more)


def test_what_a_module_needs_stands_after_it_the_deepest_last() -> None:
    modules = dict(
        [
            module("virtio_net", "net_failover"),
            module("net_failover", "failover"),
            module("failover"),
        ]
    )
    assert render_modules_dep(modules, TOP).decode().splitlines() == [
        "kernel/failover.ko.xz:",
        "kernel/net_failover.ko.xz: kernel/failover.ko.xz",
        "kernel/virtio_net.ko.xz: kernel/net_failover.ko.xz kernel/failover.ko.xz",
    ]


def test_a_shared_dependency_stands_after_all_that_need_it() -> None:
    modules = dict([module("a", "b", "c"), module("b", "d"), module("c", "d"), module("d")])
    line = render_modules_dep(modules, TOP).decode().splitlines()[0]
    assert line.endswith(" kernel/d.ko.xz")
    assert line.count("kernel/d.ko.xz") == 1


def test_a_circle_of_modules_still_gives_an_index() -> None:
    modules = dict([module("a", "b"), module("b", "a")])
    assert render_modules_dep(modules, TOP).decode().splitlines() == [
        "kernel/a.ko.xz: kernel/b.ko.xz",
        "kernel/b.ko.xz: kernel/a.ko.xz",
    ]


def test_a_module_that_is_not_inside_is_not_indexed() -> None:
    assert render_modules_dep(dict([module("a", "elsewhere")]), TOP) == b"kernel/a.ko.xz:\n"


def test_aliases_and_soft_dependencies_name_their_module() -> None:
    modules = dict([module("ext4", aliases=("fs-ext4",), soft_pre=("crc32c",), soft_post=("x",))])
    assert b"alias fs-ext4 ext4\n" in render_modules_alias(modules, TOP)
    assert b"softdep ext4 pre: crc32c post: x\n" in render_modules_softdep(modules, TOP)


def test_weak_dependencies_are_listed_by_module() -> None:
    modules = dict([module("lan", weak=("phy_a", "phy_b")), module("phy_a")])
    assert render_modules_weakdep(modules, TOP).decode().splitlines()[1:] == [
        "weakdep lan phy_a phy_b"
    ]
