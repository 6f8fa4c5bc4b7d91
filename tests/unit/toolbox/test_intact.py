"""A toolbox that was damaged on the disk is found before one of its tools runs."""

from pathlib import Path

import pytest

from minbuild.cache.store import CacheCorrupted, Store
from minbuild.facts.model import FileEntry
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath
from minbuild.toolbox import install
from minbuild.toolbox.install import install_tools


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def entries(store: Store) -> list[FileEntry]:
    return [
        FileEntry(
            RootPath("/usr/bin/x"), FileType.FILE, 0o755, size=7, sha256=store.add(b"program")
        ),
        FileEntry(RootPath("/usr/bin/y"), FileType.LINK, 0o777, target="x"),
    ]


def damage(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_tool_whose_bytes_changed_is_never_used(store: Store) -> None:
    root = install_tools(entries(store), store)
    damage(root / "usr/bin/x", b"pr0gram")
    with pytest.raises(CacheCorrupted) as caught:
        install_tools(entries(store), store)
    assert "/usr/bin/x" in caught.value.where
    assert (install_tools(entries(store), store) / "usr/bin/x").read_bytes() == b"program"


@pytest.mark.parametrize("gone", ["usr/bin/x", "usr/bin/y"])
def test_a_tool_that_is_gone_is_seen(store: Store, gone: str) -> None:
    (install_tools(entries(store), store) / gone).unlink()
    with pytest.raises(CacheCorrupted):
        install_tools(entries(store), store)


def test_a_link_that_leads_elsewhere_is_seen(store: Store) -> None:
    link = install_tools(entries(store), store) / "usr/bin/y"
    link.unlink()
    link.symlink_to("/bin/sh")
    with pytest.raises(CacheCorrupted):
        install_tools(entries(store), store)


def test_what_python_compiled_is_kept_only_as_it_was_noted(store: Store) -> None:
    root = install_tools(entries(store), store)
    compiled = [root / install.BYTECODE_DIRECTORY[1:] / f"{name}.pyc" for name in "abc"]
    for path in compiled[:2]:
        path.write_bytes(b"code")
    install.record_bytecode(root, store)
    compiled[1].write_bytes(b"c0de")
    compiled[2].write_bytes(b"strange")
    install_tools(entries(store), store)
    assert [path.exists() for path in compiled] == [True, False, False]


ADDED = {
    "a module that Python finds first": "usr/lib/python3/dist-packages/pefile.py",
    "a library for a newer processor": "usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/libc.so.6",
    "a program": "usr/bin/z",
    "a converter of glibc's": "usr/lib/minbuild/gconv/x.so",
    "a file in the home directory": "usr/lib/minbuild/empty/.config",
}


@pytest.mark.parametrize("path", ADDED.values(), ids=ADDED.keys())
def test_a_file_that_no_entry_names_is_seen(store: Store, path: str) -> None:
    root = install_tools(entries(store), store)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"")
    assert not install.is_intact(root, entries(store), {RootPath("/usr/bin/y"): "x"}, {})
    with pytest.raises(CacheCorrupted, match="damaged"):
        install_tools(entries(store), store)
    assert not (install_tools(entries(store), store) / path).exists()


def test_a_changed_table_of_converters_is_seen(store: Store) -> None:
    root = install_tools(entries(store), store)
    damage(root / install.GCONV_MODULES[1:], b"module X// INTERNAL /tmp/x 1\n")
    with pytest.raises(CacheCorrupted):
        install_tools(entries(store), store)
