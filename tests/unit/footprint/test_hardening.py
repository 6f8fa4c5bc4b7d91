"""Recommended settings of the kernel: each way to have one, and what is told of those that lack."""

import pytest

from minbuild.data import data_directory
from minbuild.footprint.hardening import (
    RECOMMENDED_SETTINGS,
    RecommendedSetting,
    find_unmet_settings,
    read_sysctls,
)
from minbuild.manifest.loader import read_manifest


def found(
    config: dict[str, str] | None = None,
    cmdline: str = "",
    script: str = "",
    modules: tuple[str, ...] = (),
) -> dict[str, str]:
    texts = {"/etc/sysctl.d/a.conf": script}
    return dict(find_unmet_settings(config or {}, cmdline, texts, modules))


@pytest.mark.parametrize("row", RECOMMENDED_SETTINGS, ids=lambda row: row.alternatives[0])
def test_any_way_to_have_a_setting_is_enough(row: RecommendedSetting) -> None:
    first = row.alternatives[0]
    # what is `n` holds where nobody says anything
    usual = {one.partition("=")[0][7:]: "y" for one in row.alternatives if one[:7] == "config " and one.endswith("=n")}  # fmt: skip
    for way in row.alternatives:
        kind, _, wish = way.partition(" ")
        name, _, value = wish.partition("=")
        config = usual | ({name: value} if kind == "config" else {})
        cmdline = wish if kind == "cmdline" else "console=ttyS0"
        assert first not in found(config, cmdline, wish if kind == "sysctl" else "")
    assert first in found(usual | wrong(first))


def wrong(way: str) -> dict[str, str]:
    kind, _, wish = way.partition(" ")
    name, _, value = wish.partition("=")
    return {name: "y" if value == "n" else "n"} if kind == "config" else {}


def test_every_setting_has_a_price_and_one_place() -> None:
    assert all(row.cost for row in RECOMMENDED_SETTINGS)
    firsts = [row.alternatives[0] for row in RECOMMENDED_SETTINGS]
    assert len(set(firsts)) == len(firsts)


def test_what_is_there_and_what_it_costs_is_told() -> None:
    said = found({"DEBUG_FS": "y"}, "quiet", "kernel.yama.ptrace_scope = 2")
    assert said["config DEBUG_FS=n"].startswith("is y; or cmdline debugfs=off; costs: ")
    assert said["sysctl kernel.yama.ptrace_scope=3"].startswith("is 2; costs: strace and gdb")
    assert said["cmdline hash_pointers=always"].startswith("is not on the command line; costs: ")


def test_a_module_that_the_image_has_not_is_as_good_as_none() -> None:
    assert "config X86_MSR=n" not in found({"X86_MSR": "m"})
    assert "config X86_MSR=n" in found({"X86_MSR": "m"}, modules=("msr",))
    assert "config X86_MSR=n" in found({"X86_MSR": "y"})


def test_sysctls_are_read_where_they_are_set() -> None:
    texts = {
        "/etc/sysctl.d/10.conf": "# kernel.sysrq = 1\nkernel.sysrq = 4\n-kernel/oops_limit=1\n",
        "/etc/sysctl.d/20.conf": "kernel.sysrq=0\n",
        "/etc/other.conf": "kernel.sysrq=9\n",
        "/usr/lib/minbuild/protection": "MORE_SYSCTLS='kernel/warn_limit=7 a/b=c'\n"
        "    echo 1 >/proc/sys/kernel/modules_disabled\n",
    }
    assert read_sysctls(texts) == {
        "kernel.sysrq": "0",
        "kernel.oops_limit": "1",
        "kernel.warn_limit": "7",
        "kernel.modules_disabled": "1",
        "a.b": "c",
    }


def test_the_shipped_host_sets_what_is_recommended_and_says_what_not() -> None:
    def of_host(**settings: str) -> set[str]:
        manifest = read_manifest(
            data_directory("manifests") / "host.yaml", settings=settings, components=()
        )
        texts = {str(file.path): file.content.decode() for one in manifest.components for file in one.files}  # fmt: skip
        return {
            name for name, _ in find_unmet_settings({}, "", texts, ()) if name.startswith("sysctl ")
        }

    left = {
        "sysctl kernel.yama.ptrace_scope=3",
        "sysctl kernel.warn_limit=100",
        "sysctl net.ipv6.conf.all.accept_ra=0",
    }
    assert of_host() == left
    assert of_host(sysctls="[kernel/yama/ptrace_scope=3]") == left - {
        "sysctl kernel.yama.ptrace_scope=3"
    }
