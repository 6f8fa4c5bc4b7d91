"""Commands of scripts that an image has not."""

import pytest

from minbuild.facts.shell import Shell, Use
from minbuild.facts.types import Files, Script
from minbuild.paths import RootPath
from minbuild.resolve.catalog import Catalog
from minbuild.resolve.commands import Heard, cautions, is_shell
from minbuild.resolve.waivers import Waivers
from tests.unit.resolve.world import package, waiver

RUN = RootPath("/usr/bin/run")


def warned(
    shell: Shell, *, files: Files | None = None, bash: bool = False, allow: tuple[str, ...] = ()
) -> list[str]:
    catalog = Catalog([files or package("", {"/usr/bin/run": None})], merged=True)
    waivers = Waivers((), [waiver(text) for text in allow])
    found = cautions({RUN: Heard(shell, bash)}, catalog, waivers)
    assert not waivers.unused
    return [f"{one.line} {one.what}" for one in found]


def uses(*names: str) -> tuple[Use, ...]:
    return tuple(Use(name, line) for line, name in enumerate(names, 1))


def test_a_command_that_is_nowhere_is_said_once_with_its_first_line() -> None:
    assert warned(Shell(uses("true", "lsblk", "lsblk"))) == [
        '2 command "lsblk" is not in the image'
    ]


def test_applets_links_and_programs_of_the_image_are_there() -> None:
    files = package(
        "", {"/usr/bin/busybox": None, "/usr/bin/cut": "-> busybox", "/usr/sbin/halt": None,
             "/opt/x/tool": None, "/usr/bin/broken": "-> gone"},
    )  # fmt: skip
    shell = Shell(uses("cut", "/bin/cut", "halt", "tool", "broken"), path=("/opt/x",))
    assert warned(shell, files=files) == ['5 command "broken" is not in the image']


@pytest.mark.parametrize(
    "shell",
    [
        Shell(uses("mine"), functions=("mine",)),
        Shell(uses("maybe"), guarded=("maybe",)),
        Shell(uses("/run/later", "/proc/self/exe", "./here", "lib/there")),
        Shell(uses("unknown"), open_path=True),
        Shell(uses("unknown"), open_sources=True),
        Shell(uses("cd", "[", "local", "[[", "source")),
    ],
)
def test_what_is_or_may_be_there_is_not_said(shell: Shell) -> None:
    assert warned(shell) == []


def test_bash_has_more_of_its_own_than_other_shells() -> None:
    assert warned(Shell(uses("declare", "shopt")), bash=True) == []
    assert len(warned(Shell(uses("declare", "shopt")))) == 2


def test_a_waiver_silences_by_name_glob_or_path() -> None:
    shell = Shell(uses("lsblk", "/usr/bin/away"))
    assert warned(shell, allow=("ls*", "/usr/bin/away")) == []


def test_what_cannot_be_read_is_said() -> None:
    assert warned(Shell(unread=True)) == ["1 it cannot be read as a shell script"]


def test_functions_of_files_that_are_read_are_known_both_ways() -> None:
    common, more = RootPath("/usr/lib/common"), RootPath("/usr/lib/more")
    files = package("", {"/usr/bin/run": None, common: None, more: None})
    heard = {
        RUN: Heard(Shell(uses("helper", "deep"), functions=("mine",), sources=("/lib/common",))),
        common: Heard(Shell(uses("mine"), functions=("helper",), sources=("/lib/more",))),
        more: Heard(Shell(uses("gone"), functions=("deep",))),
    }
    found = cautions(heard, Catalog([files]), Waivers())
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
