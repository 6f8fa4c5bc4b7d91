"""Values in shell scripts and in files of lines."""

import random
import subprocess

import pytest

from minbuild.manifest.model import VariableValue
from minbuild.manifest.templates import find_unquoted, render_template
from minbuild.manifest.text_use import QUOTED_MARK, InvalidTemplate, TextUse, classify_text
from tests.unit.manifest.conftest import Desk

VALUES: dict[str, VariableValue] = {
    "x": "text",
    "y": "more",
    "n": 5,
    "flag": True,
    "many": ("a", "b"),
}


@pytest.mark.parametrize(
    "text",
    [
        "{{ x | quote }}",
        "{{n}} {{ n * 2 }} {{ '%04X' | format(n) }} {{ flag }} {{ -n // 3 }}",
        "{{ many | map('quote') | join(' ') }}{{ many | join(' ') | quote }}",
        "{% for one in many %}{{ one | quote }}{{ loop.index }}{% endfor %}",
        "{% for one in ['a', 'b'] %}{{ one }}{% endfor %}",
        "{% for one in range(n) %}{{ one }}{% endfor %}",
        "{% set z = 'const' %}{{ z }}{{ z ~ n }}{{ 'a' if x else 'b' }}",
        "{% macro m(v) %}{{ v | quote }}{% endmacro %}{{ m(x) }}",
        "{{ many | length }}{{ x | default('') | quote }}{{ x == y }}{{ x is defined }}",
        "no mark",
    ],
)
def test_quoted_values_numbers_and_constants_are_sound(text: str) -> None:
    assert find_unquoted(text, VALUES) == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{{ x }}", "x"),
        ("{{ x | upper }}", "x"),
        ("{{ x | quote | upper }}", "x"),
        ("{{ x ~ n }}", "n, x"),
        ("{{ many | join(' ') }}", "many"),
        ("{{ many | map('upper') | join(' ') }}", "many"),
        ("{{ many | map('quote') | join(x) }}", "many, x"),
        ("{{ x if flag else 'b' }}", "flag, x"),
        ("{% for one in many %}{{ one }}{% endfor %}", "one"),
        ("{% set z = x %}{{ z }}", "z"),
        ("{% set n = x %}{{ n }}", "n"),
        ("{% macro m(n) %}{{ n }}{% endmacro %}{{ m(x) }}", "n"),
        ("{{ x[0] }}", "x"),
        ("{{ '%s' | format(x) }}", "x"),
        ("{{ x.upper() }}", "x"),
        ("{% set z %}{{ x | quote }}{% endset %}{{ z }}", "z"),
        ("{{ x or y }}", "x, y"),
    ],
)
def test_a_value_without_quotes_is_named(text: str, names: str) -> None:
    (fault,) = find_unquoted("first\n" + text, VALUES)
    assert fault.line == 2
    assert (
        fault.message == f"the value of {names} is used in shell commands without the filter quote"
    )


def test_a_shell_reads_every_value_as_it_was() -> None:
    chance = random.Random(14)
    letters = "ab \t\n'\"\\$`!*?[]{}()<>|&;#~=%é\u2028-"
    values = [
        "".join(chance.choice(letters) for _ in range(chance.randrange(20))) for _ in range(200)
    ]
    lines = [
        render_template("printf '%s\\0' {{ v | quote }}\n", {"v": value}, TextUse.SHELL)
        for value in values
    ]
    ended = subprocess.run(["sh"], input="".join(lines).encode(), capture_output=True, check=True)
    assert ended.stdout.decode().split("\0")[:-1] == values


def test_a_list_is_no_word() -> None:
    with pytest.raises(InvalidTemplate, match="for a list write") as raised:
        render_template("\n{{ many | quote }}", VALUES)
    assert raised.value.problems[0].line == 2
    assert (
        render_template("{{ many | map('quote') | join(' ') }}", {"many": ("a b", "c")})
        == "'a b' c"
    )


def test_marks_stand_for_quoted_values_alone() -> None:
    text = "{{ x | quote }} {{ n }}{% if flag %} {{ y | quote }}{% endif %}"
    assert (
        render_template(text, VALUES, TextUse.SHELL, marked=True)
        == f"{QUOTED_MARK} 5 {QUOTED_MARK}"
    )
    assert render_template("{{ x | quote }}", VALUES, marked=True) == QUOTED_MARK


@pytest.mark.parametrize(
    ("text", "use", "sound"),
    [
        ("a = {{ v }}\n", TextUse.FILE, False),
        ("a = {{ v }}{% if v %}\n{% endif %}", TextUse.FILE, False),
        ("a = {{ v | quote }}\n", TextUse.COMMANDS, False),
        ("a = {{ v | quote }}\n", TextUse.SHELL, True),
        ("{{ v }}\n", TextUse.FILE, True),
        ("{% if v %}{{ v }}{% endif %}\n", TextUse.FILE, True),
        ("{{ v }}{{ v }}\n", TextUse.FILE, False),
        ("a = {{ v }}\n", TextUse.TEXT, True),
    ],
)
def test_a_line_break_in_a_value_makes_no_line_within_another(
    text: str, use: TextUse, sound: bool
) -> None:
    values = {"v": "one\ntwo"}
    if sound:
        assert "one\ntwo" in render_template(text, values, use)
        return
    with pytest.raises(InvalidTemplate, match="a value with a line break shares its line"):
        render_template(text, values, use)


@pytest.mark.parametrize(
    ("path", "text", "mode", "file", "use"),
    [
        ("/x", "#!/bin/sh\n", 0o644, "", TextUse.SHELL),
        ("/x", "#!/usr/bin/env bash\n", 0o755, "", TextUse.SHELL),
        ("/x", "#! /usr/bin/busybox sh -e\n", 0o755, "", TextUse.SHELL),
        ("/x", "#!/usr/bin/env -S dash -e\n", 0o755, "", TextUse.SHELL),
        ("/x", "#!/usr/bin/python3\n", 0o755, "", TextUse.FILE),
        ("/x", "#!/usr/bin/fish\n", 0o755, "a.sh", TextUse.FILE),
        ("/x", "# shellcheck shell=sh\n", 0o644, "", TextUse.SHELL),
        ("/x", "echo\n", 0o755, "", TextUse.SHELL),
        ("/x", "echo\n", 0o644, "a.sh.j2", TextUse.SHELL),
        ("/etc/profile.d/x", "echo\n", 0o644, "", TextUse.SHELL),
        ("/etc/inittab", "::sysinit:x\n", 0o644, "", TextUse.COMMANDS),
        ("/etc/motd", "hello\n", 0o644, "", TextUse.FILE),
    ],
)
def test_what_reads_a_file_is_seen(
    path: str, text: str, mode: int, file: str, use: TextUse
) -> None:
    assert classify_text(path, text, mode, file) is use


def test_the_error_names_line_and_fix_in_a_template_and_in_a_text(desk: Desk) -> None:
    desk.write({"components/boot/mine.sh.j2": "#!/bin/sh\n\necho '{{ word }}'\n"})
    desk.component(
        "boot/mine",
        "vars: {word: a}\nfiles:\n  /x: {template: mine.sh.j2, mode: '0755'}\n"
        "  /y:\n    content: |\n      #!/bin/sh\n      echo {{ word }}\n",
    )
    fix = "write it as {{ word | quote }}, outside of the script's own quotes; inside of them, use a shell variable that is set that way"
    what = "the value of word is used in shell commands without the filter quote"
    assert desk.problems("boot: {use: [mine]}\n") == [
        ("components/boot/mine.sh.j2:3:1", what, fix),
        ("components/boot/mine.yaml:8:1 (files[/y].content)", what, fix),
    ]
