"""Which file serves a firmware's name, in the kernel's order."""

import pytest

from minbuild.resolve.firmware import FirmwareFiles
from minbuild.resolve.package_view import PackageView
from tests.unit.resolve.builders import Content, package

TOP = "/usr/lib/firmware"
BOTH = {
    "FW_LOADER": "y",
    "FW_LOADER_COMPRESS": "y",
    "FW_LOADER_COMPRESS_ZSTD": "y",
    "FW_LOADER_COMPRESS_XZ": "y",
}
ZSTD = {"FW_LOADER_COMPRESS": "y", "FW_LOADER_COMPRESS_ZSTD": "y"}
OLD = {"FW_LOADER_COMPRESS": "y"}
NONE = {"FW_LOADER": "y"}


def serving(name: str, options: dict[str, str], *files: str, **links: str) -> list[str]:
    content: dict[str, Content] = {f"{TOP}/{one}": None for one in files}
    content |= {f"{TOP}/{one}": f"-> {to}" for one, to in links.items()}
    blobs = FirmwareFiles(PackageView([package("firmware", content)]), "6.1-t", options)
    return [str(reached.path).removeprefix(f"{TOP}/") for _, reached in blobs.find_files(name)]


@pytest.mark.parametrize(
    ("options", "files", "expected"),
    [
        (BOTH, ["foo.bin", "updates/foo.bin.xz"], ["foo.bin"]),
        (BOTH, ["foo.bin", "6.1-t/foo.bin", "updates/foo.bin", "updates/6.1-t/foo.bin"], ["updates/6.1-t/foo.bin"]),
        (BOTH, ["foo.bin", "6.1-t/foo.bin", "updates/foo.bin"], ["updates/foo.bin"]),
        (BOTH, ["foo.bin", "6.1-t/foo.bin"], ["6.1-t/foo.bin"]),
        (BOTH, ["foo.bin", "6.1/foo.bin"], ["foo.bin"]),
        (BOTH, ["updates/foo.bin.xz", "foo.bin.zst"], ["foo.bin.zst"]),
        (ZSTD, ["foo.bin.xz"], []),
        (ZSTD, ["foo.bin.xz", "foo.bin.zst"], ["foo.bin.zst"]),
        (OLD, ["foo.bin.zst", "foo.bin.xz"], ["foo.bin.xz"]),
        (NONE, ["foo.bin.zst", "foo.bin.xz"], []),
        ({}, ["foo.bin.xz"], ["foo.bin.xz"]),
        (BOTH, ["foo.bin/directory"], []),
    ],
)  # fmt: skip
def test_the_file_that_the_kernel_loads(
    options: dict[str, str], files: list[str], expected: list[str]
) -> None:
    assert serving("foo.bin", options, *files) == expected


def test_a_glob_stands_for_names_each_served_once() -> None:
    files = (
        "a/1.bin",
        "updates/a/1.bin",
        "a/2.bin.xz",
        "a/2.bin.zst",
        "a/3.bin.xz",
        "updates/a/3.bin",
    )
    assert serving("a/*.bin", BOTH, *files) == ["updates/a/1.bin", "a/2.bin.zst", "updates/a/3.bin"]
    assert serving("a/*", BOTH, *files) == ["updates/a/1.bin", "a/2.bin.zst", "updates/a/3.bin"]
    assert serving("a/*", NONE, *files) == ["updates/a/1.bin", "updates/a/3.bin"]


def test_a_link_to_nothing_is_passed_over() -> None:
    assert serving("foo", BOTH, "foo.xz", foo="gone") == ["foo.xz"]
    assert serving("foo", BOTH, foo="gone") == ["foo"]


def test_what_the_kernel_cannot_read_is_named_with_its_option() -> None:
    catalog = PackageView([package("firmware", {f"{TOP}/foo.bin.zst": None})])
    assert FirmwareFiles(catalog, "6.1-t", NONE).list_unreadable("foo.bin") == (
        "/lib/firmware/foo.bin.zst (CONFIG_FW_LOADER_COMPRESS_ZSTD is not set)",
    )
    assert FirmwareFiles(catalog, "6.1-t", BOTH).list_unreadable("foo.bin") == ()
