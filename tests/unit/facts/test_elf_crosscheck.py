"""The second reader of ELF objects."""

from pathlib import Path
from typing import Any

import pytest

from minbuild.cache.store import Store
from minbuild.errors import ResolveError
from minbuild.facts import elf_crosscheck
from minbuild.facts.elf_facts import read_elf
from minbuild.facts.model import Elf
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath
from minbuild.rootfs.content_view import files_from_content
from minbuild.rootfs.model import RootfsNode, RootfsTree
from tests.support import elf as maker


def both(data: bytes) -> tuple[elf_crosscheck.LoaderView, elf_crosscheck.LoaderView | None]:
    found = read_elf(data)
    assert isinstance(found, Elf)
    return elf_crosscheck.view_facts(found), elf_crosscheck.read_with_pyelftools(data)


def test_both_readers_say_the_same_of_a_program_with_everything() -> None:
    data = maker.elf(
        maker.Elf(
            interp="/lib64/ld-linux-x86-64.so.2",
            needed=("liba.so.1", "libb.so.2"),
            soname="libme.so.3",
            rpath="$ORIGIN/x:/opt",
        )
    )
    first, second = both(data)
    assert first == second
    assert first.needed == ("liba.so.1", "libb.so.2")
    assert first.rpath == ("$ORIGIN/x", "/opt")


@pytest.mark.parametrize("name", ["sh", "python3", "env", "ls"])
def test_both_readers_say_the_same_of_this_machines_programs(name: str) -> None:
    data = (Path("/usr/bin") / name).read_bytes()
    first, second = both(data)
    assert first == second
    assert first.needed


def test_where_the_library_stops_there_is_no_second_opinion() -> None:
    assert elf_crosscheck.read_with_pyelftools(b"\x7fELF" + bytes(20)) is None


def test_a_tree_whose_readers_differ_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library is made to see another soname, as a file that deceives one of them would."""
    from elftools.elf.dynamic import DynamicTag

    store = Store(tmp_path)
    data = maker.elf(maker.Elf(soname="libx.so.1"))
    path = RootPath("/usr/lib/libx.so.1")
    node = RootfsNode(
        path, FileType.FILE, 0o644, 0, 0, len(data), store.add(data), "", "x", "boot/init"
    )
    tree = RootfsTree((node,), (), RootPath("/boot/vmlinuz"), "6.1")
    real = DynamicTag.__init__

    def deceived(self: DynamicTag, entry: Any, table: Any) -> None:
        real(self, entry, table)
        if hasattr(self, "soname"):
            self.soname = "liby.so.1"

    monkeypatch.setattr(DynamicTag, "__init__", deceived)
    with pytest.raises(ResolveError, match="two readers differ"):
        files_from_content(tree, store).facts(path)
