"""Options on small Kconfig trees: what a request needs, in which words it fails, and one answer."""

import subprocess
from itertools import permutations
from pathlib import Path

import pytest

from minbuild.errors import ResolveError, ToolError
from minbuild.kconfig.model import How, KernelOptions, OptionRequest
from minbuild.kconfig.removal import remove_options
from minbuild.kconfig.resolution import resolve_options
from minbuild.kconfig.tree import OptionTree

KCONFIG = """
mainmenu "Linux"
config CC_OK
\tdef_bool $(shell,test "$(CC)" = gcc-14 && echo y || echo n)
menuconfig MODULES
\tbool "Modules"
\tmodules
menuconfig NET
\tbool "Networking"
if NET
config INET
\tbool "TCP/IP"
\tselect CRYPTO
config BRIDGE
\ttristate "Bridge"
\tdepends on INET
\tselect STP
config TABLES
\tbool "Tables"
\tdepends on INET || PACKET
config PACKET
\tbool "Packet"
endif
config STP
\ttristate
config CRYPTO
\tbool
config ACPI
\tbool "ACPI"
\tdepends on ARCH_SUPPORTS_ACPI
config ARCH_SUPPORTS_ACPI
\tbool
config EFI
\tbool "EFI"
\tselect ARCH_SUPPORTS_ACPI
config KVM
\ttristate "KVM"
config KVM_X86
\tdef_tristate KVM if KVM_AMD || KVM_INTEL
config KVM_AMD
\tbool "AMD"
\tdepends on KVM
config KVM_INTEL
\tbool "Intel"
\tdepends on KVM
config LTO
\tbool "LTO"
\tdepends on HAS_LTO
config HAS_LTO
\tbool
config SAFE
\tbool "Safe"
\tdepends on !UNSAFE
config UNSAFE
\tbool "Unsafe"
config FILTER
\tdef_bool y
\tdepends on NET
config NR_CPUS
\tint "Processors"
\trange 2 512
\tdefault 8
config CHARSET
\tstring "Character set"
\tdefault "iso8859-1"
config EXPERT
\tbool "Experts"
config BLOCK
\tbool "Disks" if EXPERT
\tdefault y
config DISK
\tbool "Disk"
\tdepends on BLOCK
config MITIGATION_A
\tbool "A"
config MITIGATION_B
\tbool "B"
\tdepends on CC_OK
choice
\tprompt "Packed"
\tdefault GZIP
config GZIP
\tbool "gzip"
config XZ
\tbool "xz"
endchoice
"""


def _run(command: str) -> str:
    # the shell is the subject's door: here this machine's, in a build the toolchain's
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False).stdout


@pytest.fixture
def tree(tmp_path: Path) -> OptionTree:
    (tmp_path / "Kconfig").write_text(KCONFIG)
    return OptionTree(tmp_path, {"CC": "gcc-14"}, _run)


def _ask(*texts: str) -> list[OptionRequest]:
    """`NAME`, or `NAME=VALUE`, each by a component of its own."""
    requests = []
    for text in texts:
        name, _, value = text.partition("=")
        requests.append(OptionRequest(name, value or "y", f"c/{name.lower()}", f"{name}.yaml:1:1"))
    return requests


def _resolve(tree: OptionTree, *texts: str) -> KernelOptions:
    return resolve_options(tree, _ask(*texts), "6.12.1")


def _fail(tree: OptionTree, *texts: str) -> list[str]:
    with pytest.raises(ResolveError) as caught:
        _resolve(tree, *texts)
    return [error.what for error in (caught.value, *caught.value.also)]


def test_what_an_option_depends_on_is_needed_by_it(tree: OptionTree) -> None:
    options = _resolve(tree, "BRIDGE")
    assert {name: (need.by, need.how) for name, need in options.needs.items()} == {
        "BLOCK": ("", How.DEFAULT),
        "BRIDGE": ("c/bridge", How.ASKED),
        "CC_OK": ("", How.DEFAULT),
        "CHARSET": ("", How.DEFAULT),
        "CRYPTO": ("INET", How.SELECT),
        "FILTER": ("", How.DEFAULT),
        "GZIP": ("", How.DEFAULT),
        "INET": ("BRIDGE", How.DEPENDS),
        "NET": ("INET", How.DEPENDS),
        "NR_CPUS": ("", How.DEFAULT),
        "STP": ("BRIDGE", How.SELECT),
    }
    assert options.settings == {"BRIDGE": "y", "INET": "y", "NET": "y"}


def test_nothing_is_on_that_nobody_asks_for(tree: OptionTree) -> None:
    assert _resolve(tree).settings == {}


def test_an_unknown_option_names_the_nearest(tree: OptionTree) -> None:
    assert _fail(tree, "BRIGDE") == [
        "c/brigde asks for BRIGDE: this kernel has no such option; did you mean BRIDGE?"
    ]


def test_an_option_that_another_component_sets_to_n_is_named_with_it(tree: OptionTree) -> None:
    assert _fail(tree, "BRIDGE", "NET=n") == [
        "c/bridge asks for BRIDGE: INET depends on NET, which c/net sets to n (NET.yaml:1:1)"
    ]


def test_an_option_without_a_prompt_says_what_its_default_lacks(tree: OptionTree) -> None:
    assert _fail(tree, "FILTER", "NET=n") == [
        "c/filter asks for FILTER: FILTER depends on NET, which c/net sets to n (NET.yaml:1:1)"
    ]


def test_two_values_of_one_option_are_an_error(tree: OptionTree) -> None:
    requests = [*_ask("NR_CPUS=64"), OptionRequest("NR_CPUS", "256", "c/big", "big.yaml:2:1")]
    with pytest.raises(ResolveError, match=r"c/cpus|c/big|c/nr_cpus"):
        resolve_options(tree, requests, "6.12.1")


def test_an_option_that_nobody_can_set_says_so(tree: OptionTree) -> None:
    assert _fail(tree, "LTO") == [
        (
            "c/lto asks for LTO: LTO needs HAS_LTO, which nobody can set by hand; "
            "no option of this kernel turns it on"
        )
    ]


def test_what_another_request_selects_is_waited_for(tree: OptionTree) -> None:
    options = _resolve(tree, "ACPI", "EFI")
    assert options.settings == {"ACPI": "y", "EFI": "y"}


def test_what_only_a_selector_would_turn_on_names_it(tree: OptionTree) -> None:
    assert _fail(tree, "ACPI") == [
        (
            "c/acpi asks for ACPI: ACPI needs ARCH_SUPPORTS_ACPI, which nobody can set by hand; "
            "EFI would turn it on"
        )
    ]


def test_of_alternatives_the_one_that_is_on_is_taken(tree: OptionTree) -> None:
    options = _resolve(tree, "TABLES", "PACKET")
    assert "INET" not in options.needs
    assert _resolve(tree, "TABLES").needs["NET"].by == "TABLES"


def test_of_alternatives_that_are_off_the_first_is_taken(tree: OptionTree) -> None:
    need = _resolve(tree, "TABLES").needs["INET"]
    assert (need.by, need.how) == ("TABLES", How.ALTERNATIVE)


def test_an_option_without_a_prompt_comes_by_its_own_default(tree: OptionTree) -> None:
    options = _resolve(tree, "KVM_X86")
    assert options.settings == {"KVM": "y", "KVM_AMD": "y"}
    assert options.needs["KVM"].by == "KVM_X86"


def test_nothing_is_taken_from_who_asked_for_it(tree: OptionTree) -> None:
    assert _fail(tree, "SAFE", "UNSAFE") == [
        "c/safe asks for SAFE: SAFE needs !UNSAFE, and c/unsafe has it on (asked for)"
    ]


def test_an_option_that_is_to_be_off_and_is_selected_names_the_selector(tree: OptionTree) -> None:
    assert _fail(tree, "BRIDGE", "CRYPTO=n") == ["c/crypto asks for CRYPTO=n: INET selects it"]


def test_what_is_on_by_itself_stays_on_for_who_needs_it(tree: OptionTree) -> None:
    options = _resolve(tree, "DISK", "EXPERT")  # with EXPERT, BLOCK is asked, and was answered n
    assert options.settings == {"BLOCK": "y", "DISK": "y", "EXPERT": "y"}
    assert options.needs["BLOCK"].by == "DISK"


def test_numbers_texts_and_members_of_a_choice_are_set(tree: OptionTree) -> None:
    options = _resolve(tree, "NR_CPUS=64", "CHARSET=ascii", "XZ")
    assert options.settings == {"NR_CPUS": "64", "CHARSET": "ascii", "XZ": "y"}
    assert options.texts == {"CHARSET"}
    assert tree.get_value("GZIP") == "n"


def test_a_number_out_of_range_is_not_dropped_in_silence(tree: OptionTree) -> None:
    assert _fail(tree, "NR_CPUS=4096") == [
        "c/nr_cpus asks for NR_CPUS=4096: the configuration has 8 for it"
    ]


def test_a_glob_asks_for_every_option_of_such_a_name(tree: OptionTree) -> None:
    assert set(_resolve(tree, "MITIGATION_*").settings) == {"MITIGATION_A", "MITIGATION_B"}


def test_a_glob_that_means_nothing_is_an_error(tree: OptionTree) -> None:
    assert _fail(tree, "NOTHING_*") == [
        "c/nothing_* asks for NOTHING_*: this kernel has no option of such a name"
    ]


def test_every_problem_is_reported(tree: OptionTree) -> None:
    assert len(_fail(tree, "LTO", "ACPI")) == 2


def test_the_answer_does_not_depend_on_the_order_of_requests(tmp_path: Path) -> None:
    (tmp_path / "Kconfig").write_text(KCONFIG)
    answers = []
    for order in permutations(("TABLES", "PACKET", "ACPI", "EFI")):
        tree = OptionTree(tmp_path, {"CC": "gcc-14"}, _run)
        answers.append(_resolve(tree, *order))
    assert all(answer == answers[0] for answer in answers)


def test_a_shell_question_is_asked_of_the_shell_given(tmp_path: Path) -> None:
    (tmp_path / "Kconfig").write_text(KCONFIG)
    asked: list[str] = []

    def answer(command: str) -> str:
        asked.append(command)
        return "n\n"

    tree = OptionTree(tmp_path, {"CC": "clang"}, answer)
    assert tree.get_value("CC_OK") == "n"
    assert asked == ['test "clang" = gcc-14 && echo y || echo n']


def test_a_file_that_is_no_kconfig_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "Kconfig").write_text("config\n\tbool bool bool\n")
    with pytest.raises(ToolError, match="options cannot be read"):
        OptionTree(tmp_path, {}, _run)


def test_without_a_component_go_its_options_and_what_only_these_need(tree: OptionTree) -> None:
    options = _resolve(tree, "BRIDGE", "TABLES")
    removal = remove_options(tree, options, (), {"c/bridge"})
    assert [need.name for need in removal.gone] == ["BRIDGE", "STP"]  # TABLES needs INET, too
    assert (removal.new, removal.broken) == ((), ())


def test_without_an_option_its_askers_break_and_others_take_an_alternative(
    tree: OptionTree,
) -> None:
    options = _resolve(tree, "BRIDGE", "TABLES")
    removal = remove_options(tree, options, {"INET"})
    assert [need.name for need in removal.gone] == ["BRIDGE", "CRYPTO", "INET", "STP"]
    assert removal.new == ("PACKET",)
    assert [(one.by, reason) for one, reason in removal.broken] == [
        ("c/bridge", "BRIDGE depends on INET, which would be off")
    ]


def test_what_selects_an_option_goes_with_it(tree: OptionTree) -> None:
    removal = remove_options(tree, _resolve(tree, "INET", "STP", "BRIDGE"), {"STP"})
    assert [need.name for need in removal.gone] == ["BRIDGE", "STP"]
    assert [(one.name, reason) for one, reason in removal.broken] == [
        ("BRIDGE", "it selects STP"),
        ("STP", "it would be off"),
    ]


def test_what_was_removed_comes_back_when_it_is_resolved_again(tree: OptionTree) -> None:
    options = _resolve(tree, "BRIDGE", "TABLES", "NR_CPUS=64")
    remove_options(tree, options, {"NET"})
    tree.clear()
    assert resolve_options(tree, options.requests, "6.12.1") == options
