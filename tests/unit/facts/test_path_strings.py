"""Absolute paths that stand in a file's text."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.pipeline.named_paths import MAX_TEXT_SIZE, find_named_paths

TEXTS = {
    "a script": (b"#!/bin/sh\n. /etc/own/conf\nexec /usr/lib/own/run --log=/var/log/own\n",
                 ("/etc/own/conf", "/usr/lib/own/run", "/var/log/own")),
    "a list": (b"path=/etc/a:/usr/share/b, '/usr/lib/c'", ("/etc/a", "/usr/lib/c", "/usr/share/b")),
    "sysctl": (b"kernel.modprobe = /usr/sbin/modprobe\n", ("/usr/sbin/modprobe",)),
    "udev": (b'RUN+="/usr/lib/own/hook %k", PROGRAM="/usr/bin/id -u"\n', ("/usr/bin/id", "/usr/lib/own/hook")),
    "modprobe.d": (b"install own /usr/sbin/load own\n", ("/usr/sbin/load",)),
    "comments": (b"# see /usr/share/own/README\n; /etc/a\n  // /etc/b\nx /etc/c\n", ("/etc/c",)),
    "a format": (b"/etc/%s/conf /etc/own.%d /usr/lib/$NAME /usr/lib/${x}/y /usr/lib/{a,b}", ()),
    "a glob": (b"/etc/own/*.conf /usr/lib/own?/x", ()),
    "relative": (b"a/etc/b ../usr/lib/c ./usr/bin/d $HOME/etc/e", ()),
    "elsewhere": (b"/home/u/.ssh /proc/cpuinfo /dev/null /tmp/x", ()),
    "a sentence": (b"It reads /etc/own/conf.", ("/etc/own/conf",)),
    "twice": (b"/etc/a/b /etc/a/b/ /etc//a", ("/etc//a", "/etc/a/b")),
    "upwards": (b"/usr/lib/../../etc/shadow", ()),
    "binary": (b"/etc/a\0/etc/b", ()),
    "not UTF-8": (b"/etc/a \xff", ()),
    "large": (b"/etc/a " + b" " * MAX_TEXT_SIZE, ()),
    "empty": (b"", ()),
}  # fmt: skip


@pytest.mark.parametrize(("data", "paths"), TEXTS.values(), ids=TEXTS.keys())
def test_paths_of_texts(data: bytes, paths: tuple[str, ...]) -> None:
    assert find_named_paths(data) == paths


def test_paths_of_a_program_stand_in_its_read_only_data() -> None:
    found = find_named_paths(Path(sys.executable).resolve().read_bytes())
    assert any(path.startswith(("/lib", "/usr/")) for path in found)
    assert found == tuple(sorted(found))


@given(data=st.binary(max_size=400))
def test_anything_is_read(data: bytes) -> None:
    for start in (b"", b"\x7fELF", b"/etc/"):
        assert all(path.startswith("/") for path in find_named_paths(start + data))
