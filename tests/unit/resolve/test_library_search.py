"""Where the loader looks, in the corners that real packages rarely have."""

import pytest

from minbuild.facts.model import Elf, LoaderConfigLines
from minbuild.resolve.closed_world import check_closed_world
from tests.unit.resolve.builders import (
    Content,
    closed,
    libc,
    library,
    missing,
    package,
    program,
    root,
)

CONF = "/etc/ld.so.conf"


def lacking(files: dict[str, Content]) -> list[str]:
    roots = [root(path) for path in files if path.startswith(("/usr/bin/", "/etc/"))]
    return missing(closed(libc(), package("app", files), roots=tuple(roots)))


@pytest.mark.parametrize(
    "first",
    [
        pytest.param("-> liba.so", id="a link to itself"),
        pytest.param("-> gone.so", id="a link to nothing"),
        pytest.param(None, id="no ELF file"),
        pytest.param(library("liba.so", machine="EM_AARCH64"), id="another machine's"),
        pytest.param(library("liba.so", kind="ET_EXEC"), id="a program at fixed addresses"),
    ],
)
def test_a_cache_lists_the_first_file_that_is_a_library(first: Content) -> None:
    assert not lacking({
        "/usr/bin/app": program("liba.so"),
        CONF: LoaderConfigLines(("/opt/a", "/opt/b")),
        "/opt/a/liba.so": first,
        "/opt/b/liba.so": library("liba.so"),
    })  # fmt: skip


def test_links_in_a_circle_end_a_list_of_directories() -> None:
    files: dict[str, Content] = {
        "/usr/bin/app": program("liba.so", rpath=("/opt/a", "/opt/b")),
        "/opt/a/liba.so": "-> liba.so",
        "/opt/b/liba.so": library("liba.so"),
    }
    assert lacking(files) == ["needed liba.so"]


def test_nodeflib_closes_all_below_the_systems_directories_in_a_cache() -> None:
    files: dict[str, Content] = {
        "/usr/bin/app": program("liba.so", "libb.so", nodeflib=True),
        CONF: LoaderConfigLines(("/usr/lib/private", "/opt")),
        "/usr/lib/private/liba.so": library("liba.so"),
        "/opt/liba.so": library("liba.so"),
        "/opt/libb.so": library("libb.so"),
    }
    # a cache has one file for a name: the other liba.so is not in it
    assert lacking(files) == ["needed liba.so"]


def test_an_empty_runpath_makes_rpaths_void() -> None:
    def world(middle: Elf) -> dict[str, Content]:
        return {
            "/usr/bin/app": program("liba.so", rpath=("/opt",)),
            "/opt/liba.so": middle,
            "/opt/libb.so": library("libb.so"),
        }

    assert not lacking(world(library("liba.so", "libb.so")))
    assert lacking(world(library("liba.so", "libb.so", runpath=("",)))) == ["needed libb.so"]


def test_the_origin_of_a_library_in_the_root_directory_is_the_root_directory() -> None:
    assert not lacking({
        "/usr/bin/app": program("liba.so", rpath=("/",)),
        "/liba.so": library("liba.so", "libb.so", runpath=("$ORIGIN",)),
        "/libb.so": library("libb.so"),
    })  # fmt: skip


def test_a_needed_name_may_hold_a_token() -> None:
    assert not lacking({
        "/usr/bin/app": program("lib${PLATFORM}.so", rpath=("/opt",)),
        "/opt/libx86_64.so": library("liba.so"),
    })  # fmt: skip


def test_an_object_without_a_dynamic_section_ends_the_search() -> None:
    files: dict[str, Content] = {
        "/usr/bin/app": program("liba.so", rpath=("/opt/a", "/opt/b")),
        "/opt/a/liba.so": library("", dynamic=False),
        "/opt/b/liba.so": library("liba.so"),
    }
    assert lacking(files) == ["needed liba.so"]


def test_a_root_whose_lib_is_no_link_has_four_directories_of_the_system() -> None:
    split = package(
        "root",
        {
            "/lib64": "-> usr/lib64",
            "/usr/lib64/ld-linux-x86-64.so.2": library("ld-linux-x86-64.so.2"),
            "/usr/bin/app": program("liba.so", "libb.so", "libc.so", "libd.so", "libe.so"),
            "/lib/x86_64-linux-gnu/liba.so": library("liba.so"),
            "/usr/lib/x86_64-linux-gnu/libb.so": library("libb.so"),
            "/lib/libc.so": library("libc.so"),
            "/usr/lib/libd.so": library("libd.so"),
        },
    )
    assert [each.wanted for each in check_closed_world(split, arch="amd64")] == ["libe.so"]


def test_a_root_without_a_cache_is_not_searched_by_ld_so_conf() -> None:
    content: dict[str, Content] = {
        "/lib64": "-> usr/lib64",
        "/usr/lib64/ld-linux-x86-64.so.2": library("ld-linux-x86-64.so.2"),
        "/usr/bin/app": program("liba.so"),
        "/opt/liba.so": library("liba.so"),
        CONF: LoaderConfigLines(("/opt",)),
    }
    (found,) = check_closed_world(package("root", content), arch="amd64")
    assert found.wanted == "liba.so"
    content["/etc/ld.so.cache"] = LoaderConfigLines(("771 liba.so /opt/liba.so",))
    assert not check_closed_world(package("root", content), arch="amd64")


def test_a_library_that_needs_itself_has_the_same_needs_with_and_without_a_program() -> None:
    files = (
        libc(),
        package(
            "app",
            {
                "/opt/liba.so": "-> liba.so.1",
                "/opt/liba.so.1": library("liba.so", "liba.so"),
                "/usr/bin/app": program("liba.so", rpath=("/opt",)),
            },
        ),
    )
    small = closed(*files, roots=(root("/opt/liba.so.1"),))
    large = closed(*files, roots=(root("/opt/liba.so.1"), root("/usr/bin/app")))
    assert set(small.needs) <= set(large.needs)
