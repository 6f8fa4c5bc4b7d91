"""A toolbox that was damaged on the disk is found before one of its tools runs."""

from pathlib import Path

import pytest

from minbuild.facts.types import Entry, Kind
from minbuild.paths import RootPath
from minbuild.store import Lost, Store
from minbuild.toolbox import intact
from minbuild.toolbox.lay import lay


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def entries(store: Store) -> list[Entry]:
    return [
        Entry(RootPath("/usr/bin/x"), Kind.FILE, 0o755, size=7, sha256=store.add(b"program")),
        Entry(RootPath("/usr/bin/y"), Kind.LINK, 0o777, target="x"),
    ]


def damage(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_tool_whose_bytes_changed_is_never_used(store: Store) -> None:
    root = lay(entries(store), store)
    damage(root / "usr/bin/x", b"pr0gram")
    with pytest.raises(Lost) as caught:
        lay(entries(store), store)
    assert "/usr/bin/x" in caught.value.where
    assert (lay(entries(store), store) / "usr/bin/x").read_bytes() == b"program"


@pytest.mark.parametrize("gone", ["usr/bin/x", "usr/bin/y"])
def test_a_tool_that_is_gone_is_seen(store: Store, gone: str) -> None:
    (lay(entries(store), store) / gone).unlink()
    with pytest.raises(Lost):
        lay(entries(store), store)


def test_a_link_that_leads_elsewhere_is_seen(store: Store) -> None:
    link = lay(entries(store), store) / "usr/bin/y"
    link.unlink()
    link.symlink_to("/bin/sh")
    with pytest.raises(Lost):
        lay(entries(store), store)


def test_what_python_compiled_is_kept_only_as_it_was_noted(store: Store) -> None:
    root = lay(entries(store), store)
    compiled = [root / intact.BYTECODE[1:] / f"{name}.pyc" for name in "abc"]
    for path in compiled[:2]:
        path.write_bytes(b"code")
    intact.note_bytecode(root, store)
    compiled[1].write_bytes(b"c0de")
    compiled[2].write_bytes(b"strange")
    lay(entries(store), store)
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
    root = lay(entries(store), store)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"")
    assert not intact.is_sound(root, entries(store), {RootPath("/usr/bin/y"): "x"}, {})
    with pytest.raises(Lost, match="damaged"):
        lay(entries(store), store)
    assert not (lay(entries(store), store) / path).exists()


def test_a_changed_table_of_converters_is_seen(store: Store) -> None:
    root = lay(entries(store), store)
    damage(root / intact.CONVERSIONS[1:], b"module X// INTERNAL /tmp/x 1\n")
    with pytest.raises(Lost):
        lay(entries(store), store)
