"""A kernel configured, compiled and read: here by a Makefile that does in a second what Linux's does."""

from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.errors import ToolError
from minbuild.kernel.build_root import BuildRoot
from minbuild.kernel.compilation import (
    build_environment,
    compile_kernel,
    configure_kernel,
    read_config,
    render_settings,
)
from minbuild.kernel.model import ARCHITECTURES
from minbuild.kernel.option_shell import OptionShell
from minbuild.kernel.source import read_kernel_version
from minbuild.progress import SilentProgress

AMD64 = replace(ARCHITECTURES["amd64"], archives=(), programs=("kernel/",))
"""Without an archive: what lists these is not on every machine."""
MAKEFILE = """\
VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 7
EXTRAVERSION =

allnoconfig:
\tcp $(KCONFIG_ALLCONFIG) $(O)/.config
bzImage: $(O)/arch/x86/boot/bzImage
$(O)/arch/x86/boot/bzImage: main.c
\t@echo "  CC      kernel/main.o"
\tmkdir -p $(O)/arch/x86/boot $(O)/kernel
\techo "$$KBUILD_BUILD_TIMESTAMP $$KBUILD_BUILD_HOST" >$@
\techo main.o >>$(O)/count
\tprintf 'source_kernel/main.o := /linux/main.c\\n\\ndeps_kernel/main.o := \\\\\\n  /linux/include/a.h \\\\\\n  include/generated/x.h \\\\\\n' >$(O)/kernel/.main.o.cmd
modules.builtin:
\techo kernel/net/bridge.ko >$(O)/modules.builtin
\tprintf 'bridge.license=GPL\\0' >$(O)/modules.builtin.modinfo
"""


class Bars(SilentProgress):
    """Remembers how far a bar came."""

    def __init__(self) -> None:
        self.done = 0

    def bar(self, label: str, done: int, total: int) -> None:
        self.done = done


@pytest.fixture
def root(tmp_path: Path) -> BuildRoot:
    """The build root with this machine's programs for a toolchain."""
    source, objects = tmp_path / "linux", tmp_path / "work" / "objects"
    source.mkdir()
    objects.mkdir(parents=True)
    (source / "Makefile").write_text(MAKEFILE)
    (source / "main.c").write_text("")
    return BuildRoot(Path("/"), source, objects)


def test_a_kernel_is_configured_compiled_and_read(root: BuildRoot) -> None:
    progress = Bars()
    settings = render_settings(
        {"NET": "y", "KEXEC": "n", "CHARSET": "ascii"}, frozenset({"CHARSET"})
    )
    configure_kernel(root, AMD64, settings)
    kernel = compile_kernel(root, AMD64, 86400, "6.12.7", progress)
    assert read_config(root.objects) == {"NET": "y", "KEXEC": "n", "CHARSET": "ascii"}
    assert kernel.image == b"Fri Jan  2 00:00:00 UTC 1970 minbuild\n"
    assert kernel.modules_builtin == b"kernel/net/bridge.ko\n"
    assert kernel.sources == ("include/a.h", "main.c")
    assert progress.done == 1


def test_what_is_compiled_is_not_compiled_again(root: BuildRoot) -> None:
    for _ in range(2):
        configure_kernel(root, AMD64, "CONFIG_NET=y\n")
        compile_kernel(root, AMD64, 0, "6.12.7", SilentProgress())
    assert (root.objects / "count").read_text() == "main.o\n"


def test_objects_of_another_configuration_are_not_this_kernel_s(root: BuildRoot) -> None:
    (root.objects / "net").mkdir()
    (root.objects / "net/.gone.o.cmd").write_text("source_net/gone.o := /linux/net/gone.c\n")
    configure_kernel(root, AMD64, "CONFIG_NET=y\n")
    kernel = compile_kernel(root, AMD64, 0, "6.12.7", SilentProgress())
    assert kernel.sources == ("include/a.h", "main.c")


def test_a_compiler_that_fails_is_shown_with_its_last_lines(root: BuildRoot) -> None:
    (root.source / "main.c").unlink()
    with pytest.raises(ToolError, match=r"(?s)while compiling the kernel.*main\.c"):
        compile_kernel(root, AMD64, 0, "6.12.7", SilentProgress())


def test_nothing_of_this_machine_is_in_the_root(root: BuildRoot) -> None:
    out = root.run("echo /*; id -u; ls /tmp; env | sort", purpose="looking").decode().splitlines()
    assert out[0] == "/bin /build /dev /lib /lib64 /links /linux /sbin /tmp /usr"
    assert {line.partition("=")[0] for line in out[2:]} == {
        "HOME", "LC_ALL", "OLDPWD", "PATH", "PWD", "TZ",
    }  # fmt: skip


def test_the_root_has_no_network_and_its_tools_cannot_be_changed(root: BuildRoot) -> None:
    out = root.run("cat /sys/class/net/*/address; touch /usr/.x; :", purpose="looking")
    assert out == b""
    assert not Path("/usr/.x").exists()


def test_the_shell_answers_one_question_after_the_other(root: BuildRoot) -> None:
    with OptionShell(root) as shell:
        assert shell.run("echo one; echo two") == "one\ntwo\n"
        assert shell.run("exit 3") == ""
        assert shell.run(f"ls {root.source}") == "Makefile\nmain.c\n"


def test_the_version_is_that_of_the_makefile(root: BuildRoot) -> None:
    assert read_kernel_version(root.source) == "6.12.7"


def test_a_tree_that_is_no_kernel_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="not the source of a kernel"):
        read_kernel_version(tmp_path)


def test_time_and_place_of_a_build_are_constants() -> None:
    assert build_environment(1795132800) == {
        "KBUILD_BUILD_HOST": "minbuild",
        "KBUILD_BUILD_TIMESTAMP": "Fri Nov 20 00:00:00 UTC 2026",
        "KBUILD_BUILD_USER": "minbuild",
        "KBUILD_BUILD_VERSION": "1",
    }
