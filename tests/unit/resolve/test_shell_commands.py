"""Commands of scripts that an image has not."""

import pytest

from minbuild.facts.model import PackageFiles, Script
from minbuild.facts.shell.script import CommandUse, ShellScript
from minbuild.paths import RootPath
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.policy import Waivers
from minbuild.resolve.shell_commands import ParsedScript, find_missing_commands, is_shell
from tests.unit.resolve.builders import package, waiver

RUN = RootPath("/usr/bin/run")


def warned(
    shell: ShellScript,
    *,
    files: PackageFiles | None = None,
    bash: bool = False,
    allow: tuple[str, ...] = (),
) -> list[str]:
    catalog = PackageView([files or package("", {"/usr/bin/run": None})], merged=True)
    waivers = Waivers((), [waiver(text) for text in allow])
    found = find_missing_commands({RUN: ParsedScript(shell, bash)}, catalog, waivers)
    assert not waivers.unused_waivers
    return [f"{one.line} {one.what}" for one in found]


def uses(*names: str) -> tuple[CommandUse, ...]:
    return tuple(CommandUse(name, line) for line, name in enumerate(names, 1))


def test_a_command_that_is_nowhere_is_said_once_with_its_first_line() -> None:
    assert warned(ShellScript(uses("true", "lsblk", "lsblk"))) == [
        '2 command "lsblk" is not in the image'
    ]


def test_applets_links_and_programs_of_the_image_are_there() -> None:
    files = package(
        "", {"/usr/bin/busybox": None, "/usr/bin/cut": "-> busybox", "/usr/sbin/halt": None,
             "/opt/x/tool": None, "/usr/bin/broken": "-> gone"},
    )  # fmt: skip
    shell = ShellScript(uses("cut", "/bin/cut", "halt", "tool", "broken"), path=("/opt/x",))
    assert warned(shell, files=files) == ['5 command "broken" is not in the image']


@pytest.mark.parametrize(
    "shell",
    [
        ShellScript(uses("mine"), functions=("mine",)),
        ShellScript(uses("maybe"), guarded=("maybe",)),
        ShellScript(uses("/run/later", "/proc/self/exe", "./here", "lib/there")),
        ShellScript(uses("unknown"), open_path=True),
        ShellScript(uses("unknown"), open_sources=True),
        ShellScript(uses("cd", "[", "local", "[[", "source")),
    ],
)
def test_what_is_or_may_be_there_is_not_said(shell: ShellScript) -> None:
    assert warned(shell) == []


def test_bash_has_more_of_its_own_than_other_shells() -> None:
    assert warned(ShellScript(uses("declare", "shopt")), bash=True) == []
    assert len(warned(ShellScript(uses("declare", "shopt")))) == 2


def test_a_waiver_silences_by_name_glob_or_path() -> None:
    shell = ShellScript(uses("lsblk", "/usr/bin/away"))
    assert warned(shell, allow=("ls*", "/usr/bin/away")) == []


def test_what_cannot_be_read_is_said() -> None:
    assert warned(ShellScript(unread=True)) == ["1 it cannot be read as a shell script"]


def test_functions_of_files_that_are_read_are_known_both_ways() -> None:
    common, more = RootPath("/usr/lib/common"), RootPath("/usr/lib/more")
    files = package("", {"/usr/bin/run": None, common: None, more: None})
    heard = {
        RUN: ParsedScript(
            ShellScript(uses("helper", "deep"), functions=("mine",), sources=("/lib/common",))
        ),
        common: ParsedScript(
            ShellScript(uses("mine"), functions=("helper",), sources=("/lib/more",))
        ),
        more: ParsedScript(ShellScript(uses("gone"), functions=("deep",))),
    }
    found = find_missing_commands(heard, PackageView([files]), Waivers())
    assert [(one.path, one.what) for one in found] == [(more, 'command "gone" is not in the image')]


@pytest.mark.parametrize(
    ("interpreter", "argument", "shell"),
    [
        ("/bin/sh", "-e", True),
        ("/usr/bin/env", "bash", True),
        ("/usr/bin/env", "-S dash -e", True),
        ("/usr/bin/busybox", "ash", True),
        ("/usr/bin/python3", "", False),
        ("/usr/bin/env", "python3", False),
    ],
)
def test_a_shell_is_known_by_the_first_line(interpreter: str, argument: str, shell: bool) -> None:
    assert is_shell(Script(interpreter, argument)) is shell
