"""What a shell script runs, makes and reads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minbuild.facts.shell.script import (
    ShellScript,
    find_shape,
    names_value,
    read_shell_script,
)


def names(text: str) -> list[str]:
    return [use.name for use in read_shell_script(text.encode()).uses]


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("cat a | grep -q b && sort c || uniq; wc\n", ["cat", "grep", "sort", "uniq", "wc"]),
        ('x="$(basename "$0")"; y=`date`\n', ["basename", "date"]),
        ("dir=$A/$1\ncp $B/$C.d x\n", ["cp"]),
        ("cat <<END\nrm -rf $(tac /x)\nEND\n", ["cat", "tac"]),
        ("cat <<'END'\n$(rm -rf /)\nEND\n", ["cat"]),
        ("'l's a; \"date\" b; \\rm c\n", ["date", "ls", "rm"]),
        ("! mount x || A=b env C=d sleep 1\n", ["env", "mount", "sleep"]),
        ("timeout -k 5 3 nc -l; nice -n 5 tar c; xargs -I X mv X\n",
         ["mv", "nc", "nice", "tar", "timeout", "xargs"]),
        ("exec setsid -c agetty tty1\n", ["agetty", "exec", "setsid"]),
        ("find / -name x -exec chmod 600 {} +\n", ["chmod", "find"]),
        ("case $1 in start) run ;; *) fail ;; esac\n", ["fail", "run"]),
        ("trap 'rm -f x; sync' EXIT\neval 'tac x'\n", ["eval", "rm", "sync", "tac", "trap"]),
        ("sh -c 'grep x | sed p'\n", ["grep", "sed", "sh"]),
        ("$1 x; ${2} y; $a$b z; ./here; ~/there; a*b\n", ["./here"]),
        ("if [[ a == b ]]; then diff <(sort a) b; fi\n", ["diff", "sort"]),
    ],
)  # fmt: skip
def test_every_command_that_stands_in_a_script_is_found(text: str, run: list[str]) -> None:
    assert sorted(names(text)) == run


def test_a_command_knows_its_line_also_in_a_script_of_a_string() -> None:
    found = {
        use.name: use.line
        for use in read_shell_script(b"\ntrue\ntrap 'rm x\nsync' 0\n\ndate\n").uses
    }
    assert found == {"true": 2, "trap": 3, "rm": 3, "sync": 4, "date": 6}


def test_a_variable_is_a_command_when_it_is_set_once_to_a_word() -> None:
    once = 'IP=/sbin/ip\n$IP link\n"${IP}" addr\n'
    assert names(once) == ["/sbin/ip", "/sbin/ip"]
    for unsure in (
        "IP=a\nIP=b\n$IP x",
        "read IP\nIP=a\n$IP x",
        "for IP in a b; do $IP; done",
        "IP=$1; $IP",
    ):
        assert [name for name in names(unsure) if name != "read"] == []


def test_what_a_script_makes_asks_for_and_reads_is_known() -> None:
    found = read_shell_script(
        b"f() { :; }\nfunction g { :; }\nalias ll='ls -l'\n"
        b"command -v a && type b; which c; [ -x /usr/sbin/d ] && [[ -e /e ]]\n"
        b". /lib/common\nsource /lib/more\nexport PATH=/opt/a:$PATH:/opt/b\n"
    )
    assert found.functions == ("f", "g", "ll")
    assert {"a", "b", "c", "d", "e", "/usr/sbin/d"} <= set(found.guarded)
    assert found.sources == ("/lib/common", "/lib/more")
    assert found.path == ("/opt/a", "/opt/b")
    assert (found.open_path, found.open_sources, found.unread) == (False, False, False)


def test_what_a_variable_holds_is_guarded_by_its_variable() -> None:
    found = read_shell_script(
        b'F=/usr/lib/x\n[ -x "$F" ] && "$F"\nG=nft\ncommand -v "$G" && $G list\n'
        b'H=h\n[[ -e $H ]] && $H\nI=/i; [ -n "$I" ] && $I\n'
    )
    assert {"/usr/lib/x", "nft", "h"} <= set(found.guarded)
    assert "/i" not in found.guarded


def test_what_only_the_running_script_knows_is_said() -> None:
    assert read_shell_script(b"PATH=$1:$PATH\n").open_path
    assert read_shell_script(b'. "$DIR/common"\n').open_sources


def test_plain_posix_that_bash_would_refuse_is_read() -> None:
    assert names("time() { :; }\nselect() { :; }\ndate\n")[-1] == "date"


@pytest.mark.parametrize("data", [b"if then fi (\n", b"echo 'no end\n", b"\x00\xff\n("])
def test_what_is_no_shell_script_is_unread(data: bytes) -> None:
    assert read_shell_script(data).unread


@settings(max_examples=25)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_not(data: bytes) -> None:
    assert isinstance(read_shell_script(data), ShellScript)


def test_a_script_that_exhausts_its_reader_is_unread() -> None:
    assert read_shell_script(b"a;" * 40_000).unread
    assert read_shell_script(b"$(" * 100_000).unread
    assert [use.name for use in read_shell_script(b"ls\n").uses] == ["ls"]


@pytest.mark.parametrize(
    ("text", "is_marked"),
    [
        ("NAME='rack7'\necho \"$NAME\"", False),
        ("PORT=22\nexec sshd -p $PORT", False),
        ("NAME='rack 7'\necho $NAME", False),
        ("TOOL=lspci\n$TOOL -n", True),
        ("TOOL=/bin/ls\n[ ! -x \"$TOOL\" ] || echo is there", True),
        ("sh -c '\nA=b\n$A'", True),
        ("cat <<END\nA=b\nEND\nA=c\n$A", True),
        ("alias \\\nls=foo\nls", False),
        ("PATH=/opt/bin\nfoo", False),
        ("X='a\nB='c'\n'\n$B", False),
        ("A=(\nb=c\n)\n. /x/y", False),
    ],
)  # fmt: skip
def test_a_shape_says_what_its_scripts_do_unless_it_names_a_value(
    text: str, is_marked: bool
) -> None:
    data = f"#!/bin/sh\n{text}\n".encode()
    read = read_shell_script(find_shape(data))
    assert names_value(read) == is_marked
    if not is_marked:
        assert read == read_shell_script(data)


def test_scripts_that_differ_in_values_alone_have_one_shape() -> None:
    first = b"#!/bin/sh\nNAME='rack7'\nPORT=22\nrun $NAME\n"
    second = b"#!/bin/sh\nNAME='edge-9.example'\nPORT=2222\nrun $NAME\n"
    assert find_shape(first) == find_shape(second) != first
    assert find_shape(first) != find_shape(first.replace(b"PORT=22", b"PORT=$X"))
