"""Which option builds a module, as Makefiles say it."""

from pathlib import Path

from minbuild.kconfig.kbuild import find_module_options, parse_goals


def test_every_object_of_a_goal_is_found() -> None:
    text = "obj-$(CONFIG_BRIDGE) += bridge.o stp-all.o # more.o\nobj-y += core.o\n"
    assert parse_goals(text) == {"bridge": ("BRIDGE",), "stp_all": ("BRIDGE",)}


def test_a_line_that_goes_on_is_one_goal() -> None:
    assert parse_goals("obj-$(CONFIG_A) := a.o \\\n\tb.o\n") == {"a": ("A",), "b": ("A",)}


def test_a_directory_is_no_module() -> None:
    assert parse_goals("obj-$(CONFIG_E1000) += e1000/\nobj-$(CONFIG_X) += sub/x.o\n") == {}


def test_other_architectures_and_tools_are_not_looked_at(tmp_path: Path) -> None:
    for place, option in (("arch/x86/kvm", "KVM_X86"), ("arch/arm64/kvm", "KVM"), ("tools", "T")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "Makefile").write_text(f"obj-$(CONFIG_{option}) += kvm.o\n")
    found = find_module_options(tmp_path, "x86", ["kvm", "absent-one"])
    assert found == {"absent_one": (), "kvm": ("KVM_X86",)}
