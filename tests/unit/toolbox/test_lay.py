import hashlib
import threading
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.errors import ToolError
from minbuild.facts.model import FileEntry
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath
from minbuild.toolbox.install import compute_tree_key, confine_link, install_tools


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def file(store: Store, path: str, content: bytes = b"x", mode: int = 0o644) -> FileEntry:
    return FileEntry(
        RootPath(path), FileType.FILE, mode, size=len(content), sha256=store.add(content)
    )


def link(path: str, target: str) -> FileEntry:
    return FileEntry(RootPath(path), FileType.LINK, 0o777, target=target)


def test_files_directories_and_links_are_laid_down(store: Store) -> None:
    entries = [
        file(store, "/usr/lib/libx.so.1.2", b"library"),
        link("/usr/lib/libx.so.1", "libx.so.1.2"),
        FileEntry(RootPath("/usr/share/x"), FileType.DIRECTORY, 0o755),
    ]
    root = install_tools(entries, store)
    assert (root / "usr/lib/libx.so.1").read_bytes() == b"library"
    assert (root / "usr/share/x").is_dir()


def test_only_what_is_a_program_may_be_executed(store: Store) -> None:
    entries = [file(store, "/usr/bin/x", b"program", 0o4755), file(store, "/usr/lib/y", b"data")]
    root = install_tools(entries, store)
    assert (root / "usr/bin/x").stat().st_mode & 0o7777 == 0o555
    assert (root / "usr/lib/y").stat().st_mode & 0o7777 == 0o444
    kept = store.path(entries[0].sha256)
    assert kept is not None
    assert kept.stat().st_mode & 0o111 == 0


def test_a_tree_is_named_by_its_entries_in_any_order(store: Store) -> None:
    entries = [file(store, "/usr/a", b"a"), file(store, "/usr/b", b"b")]
    assert compute_tree_key(entries) == compute_tree_key(entries[::-1])
    assert compute_tree_key(entries) != compute_tree_key(entries[:1])


def test_a_link_never_leads_out_of_the_tree(store: Store) -> None:
    entries = [
        file(store, "/etc/passwd", b"ours"),
        link("/usr/share/absolute", "/etc/passwd"),
        link("/usr/share/climbing", "../../../../../../etc/passwd"),
    ]
    root = install_tools(entries, store)
    for name in ("absolute", "climbing"):
        assert (root / "usr/share" / name).resolve() == root.resolve() / "etc/passwd"


@pytest.mark.parametrize(
    ("path", "target", "text"),
    [
        ("/usr/bin/a", "b", "b"),
        ("/usr/bin/a", "/usr/lib/b", "../lib/b"),
        ("/usr/lib64/ld.so", "../lib/x/ld.so", "../lib/x/ld.so"),
        ("/usr/bin/a", "/bin/b", "b"),
        ("/a", "/", "."),
    ],
)
def test_links_are_relative(path: str, target: str, text: str) -> None:
    assert confine_link(RootPath(path), target) == text


def test_nothing_is_written_through_a_link(store: Store, tmp_path: Path) -> None:
    entries = [link("/usr/evil", str(tmp_path)), file(store, "/usr/evil/file", b"bad")]
    with pytest.raises(ToolError, match="at odds"):
        install_tools(entries, store)
    assert not (tmp_path / "file").exists()
    assert not store.tree_path(compute_tree_key(entries)).exists()


def test_a_content_that_is_not_in_the_store_is_an_error(store: Store) -> None:
    lost = FileEntry(RootPath("/usr/x"), FileType.FILE, 0o644, size=1, sha256="0" * 64)
    with pytest.raises(ToolError, match="lost") as error:
        install_tools([lost], store)
    assert "/usr/x" in error.value.where


def test_a_damaged_content_is_not_laid_down(store: Store) -> None:
    entry = file(store, "/usr/x", b"sound")
    place = store.path(entry.sha256)
    assert place is not None
    place.chmod(0o644)
    place.write_bytes(b"spoilt")
    with pytest.raises(ToolError):
        install_tools([entry], store)
    assert not store.tree_path(compute_tree_key([entry])).exists()


def test_several_at_once_make_one_sound_tree(store: Store) -> None:
    entries = [file(store, f"/usr/{n}", str(n).encode()) for n in range(50)]
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(install_tools(entries, store)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    for entry in entries:
        data = (found[0] / entry.path.lstrip("/")).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry.sha256
    assert list((store.directory / "partial").iterdir()) == []
