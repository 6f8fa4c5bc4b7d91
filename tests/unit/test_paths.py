"""Paths inside the image."""

from pathlib import Path

import pytest

from minbuild.paths import list_parents, to_host_path, to_root_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("./usr/bin/", "/usr/bin"),
        ("usr/bin", "/usr/bin"),
        ("//usr//bin", "/usr/bin"),
        ("/bin/sh", "/usr/bin/sh"),
        ("lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("/lib64/ld-linux-x86-64.so.2", "/usr/lib64/ld-linux-x86-64.so.2"),
        ("/lib", "/lib"),
        ("/library/x", "/library/x"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("", "/"),
    ],
)
def test_a_path_is_absolute_normal_and_merged(text: str, path: str) -> None:
    assert to_root_path(text) == path


def test_a_path_stays_as_it_is_when_normalised_again() -> None:
    assert to_root_path(to_root_path("bin/../lib/x")) == to_root_path("bin/../lib/x")


def test_parents_come_outermost_first_without_the_root() -> None:
    assert list_parents(to_root_path("/usr/share/qemu/x.bin")) == [
        "/usr",
        "/usr/share",
        "/usr/share/qemu",
    ]
    assert list_parents(to_root_path("/etc")) == []


def test_an_image_path_lies_below_its_directory() -> None:
    assert to_host_path(Path("/tmp/x"), to_root_path("/etc/passwd")) == Path("/tmp/x/etc/passwd")
