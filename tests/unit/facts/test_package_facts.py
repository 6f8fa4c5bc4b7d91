"""Facts in the store: computed once, the same whatever computes them, never wrong."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minbuild.archive.model import Package
from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.errors import ArchiveError, MinbuildError
from minbuild.facts import serialize
from minbuild.facts.model import Elf, Malformed, Module, PackageFiles, Script
from minbuild.facts.package_facts import extract_contents, is_analysed, load_facts
from minbuild.facts.process_pool import SINGLE_PROCESS_LIMIT
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath
from minbuild.progress import SilentProgress
from tests.support.deb import Member
from tests.support.patience import PATIENCE, wait_for
from tests.unit.facts.packages import keep, keep_bytes, members

LIBRARY = RootPath("/usr/lib/libx.so.1")
TEXT = """
    Package: one
    Depends: two
    /usr/lib/libx.so.1  elf soname=libx.so.1 needed=libc.so.6 exports=x@X_1 imports=y dlopen=libz.so:required
    /usr/bin/x          0755 file "#!/bin/sh -e\\n"
    /usr/bin/y          = /usr/bin/x
    /usr/share/x        file plain
    /usr/lib/modules/6.1/a.ko.xz     module name=a depends=b alias=pci:*

    Package: two
    /usr/share/two      file two
    /usr/share/broken   file "\\x7fELF"
"""


def all_of(found: PackageFiles) -> list[object]:
    """Everything that a package's files say."""
    return [(e, found.facts(e.path)) for e in found.entries.values()]


def test_facts_come_in_the_order_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, two = keep(store, TEXT)
    assert [files.owner for files in load_facts([two, one, two], store, SilentProgress())] == [
        "two",
        "one",
        "two",
    ]


def test_facts_are_kept_for_the_next_build(tmp_path: Path) -> None:
    store = Store(tmp_path)
    packages = keep(store, TEXT)
    assert not is_analysed(packages[0], store)
    first = [all_of(files) for files in load_facts(packages, store, SilentProgress())]
    assert is_analysed(packages[0], store)
    for package in packages:
        store.discard(package.sha256)
    again = load_facts(packages, Store(tmp_path), SilentProgress())
    assert [all_of(files) for files in again] == first


def test_each_kind_of_fact_is_loaded_as_it_was_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, two = load_facts(keep(store, TEXT), store, SilentProgress())
    library = one.facts(LIBRARY)
    assert isinstance(library, Elf)
    assert library.dlopen[0].sonames == ("libz.so",)
    assert one.facts(RootPath("/usr/bin/x")) == Script("/bin/sh", "-e")
    assert one.facts(RootPath("/usr/bin/y")) == Script("/bin/sh", "-e")
    assert one.facts(RootPath("/usr/lib/modules/6.1/a.ko.xz")) == Module(
        "a", depends=("b",), aliases=("pci:*",)
    )
    assert one.facts(RootPath("/usr/share/x")) is None
    assert one.facts(RootPath("/nowhere")) is None
    assert isinstance(two.facts(RootPath("/usr/share/broken")), Malformed)
    assert one.depends == (("two",),)


def big(store: Store, count: int = 3) -> list[Package]:
    """Packages that are worth a process each."""
    return [keep_bytes(store, f"big{n}", members(noise(n), f"big{n}")) for n in range(count)]


def noise(number: int) -> list[Member]:
    script = Member("./usr/bin/x", data=f"#!/bin/{number}\n".encode())
    return [Member("./usr/share/noise", data=os.urandom(SINGLE_PROCESS_LIMIT)), script]


def in_a_thread(work: Callable[[], None]) -> None:
    """Run beside another thread, so that forking is not safe."""
    end = threading.Event()
    beside = threading.Thread(target=end.wait)
    beside.start()
    try:
        work()
    finally:
        end.set()
        beside.join()


@pytest.mark.parametrize("threads", [False, True], ids=["forked", "served"])
def test_processes_and_this_process_find_the_same(tmp_path: Path, threads: bool) -> None:
    store = Store(tmp_path / "processes")
    packages = big(store)
    found: list[PackageFiles] = []

    def work() -> None:
        found.extend(load_facts(packages, store, SilentProgress()))

    in_a_thread(work) if threads else work()
    alone = Store(tmp_path / "alone")
    for files, package in zip(found, packages, strict=True):
        data = store.read(package.sha256)
        assert data is not None
        alone.add(data)
        (expected,) = load_facts([package], alone, SilentProgress())
        assert all_of(files) == all_of(expected)


def test_every_package_that_fails_is_named_and_the_sound_ones_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    sound = big(store)
    bad = [keep_bytes(store, name, name.encode() * SINGLE_PROCESS_LIMIT) for name in ("xx", "yy")]
    with pytest.raises(ArchiveError) as caught:
        load_facts([*bad, *sound], store, SilentProgress())
    assert caught.value.where == "xx 1.0 (amd64)"
    assert [other.where for other in caught.value.also] == ["yy 1.0 (amd64)"]
    assert all(is_analysed(package, store) for package in sound)
    assert not any(is_analysed(package, store) for package in bad)


def test_a_package_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (package,) = keep(store, "Package: gone\n/a file x")
    store.discard(package.sha256)
    with pytest.raises(ArchiveError, match="not in the store") as caught:
        load_facts([package], store, SilentProgress())
    assert caught.value.where == "gone 1.0 (amd64)"


def test_a_damaged_copy_of_a_package_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (package,) = keep(store, "Package: one\n/a file x")
    path = store.path(package.sha256)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(MinbuildError, match="damaged and has been removed"):
        load_facts([package], store, SilentProgress())
    assert store.path(package.sha256) is None


@pytest.mark.parametrize("kind", [RecordKind.FILES, RecordKind.FACTS])
@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_damaged_record_is_computed_again(tmp_path: Path, kind: str, damage: str) -> None:
    store = Store(tmp_path)
    packages = keep(store, TEXT)
    before = [all_of(files) for files in load_facts(packages, store, SilentProgress())]
    (database,) = tmp_path.glob("records*.sqlite")
    with sqlite3.connect(database) as records:
        rows = records.execute("SELECT key, value FROM record WHERE kind = ?", (kind,)).fetchall()
        assert rows
        for key, value in rows:
            flipped = value[:-1] + bytes([value[-1] ^ 1])
            records.execute("UPDATE record SET value = ? WHERE key = ?", (flipped, key))
        if damage == "gone":
            records.execute("DELETE FROM record WHERE kind = ?", (kind,))
    records.close()
    assert [all_of(files) for files in load_facts(packages, store, SilentProgress())] == before


def test_a_lost_record_is_made_of_a_content_without_its_package(tmp_path: Path) -> None:
    store = Store(tmp_path)
    package, _ = keep(store, TEXT)
    (files,) = load_facts([package], store, SilentProgress())
    before = all_of(files)
    digests = {entry.sha256 for entry in files.entries.values() if entry.sha256}
    extract_contents(package, digests, store)
    store.discard(package.sha256)
    store.remove(RecordKind.FACTS, list(store.get_all(RecordKind.FACTS)))
    later = Store(tmp_path)
    (files,) = load_facts([package], later, SilentProgress())
    assert all_of(files) == before


@pytest.mark.parametrize("end", range(0, 240, 7))
def test_a_truncated_record_is_stale(end: int, tmp_path: Path) -> None:
    store = Store(tmp_path)
    (package,) = keep(store, "Package: one\n/usr/a file x\n/usr/b -> a\n/usr/c file y")
    load_facts([package], store, SilentProgress())
    whole = store.get(RecordKind.FILES, package.sha256)
    assert whole is not None
    assert len(whole) > 240
    with pytest.raises(serialize.StaleRecord):
        serialize.decode_files(whole[:end])


def test_an_empty_package_has_no_entries(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (found,) = load_facts([keep_bytes(store, "bad", members([]))], store, SilentProgress())
    assert list(found.entries) == []
    assert len(found.entries) == 0
    assert RootPath("/a") not in found.entries


def test_entries_are_sorted_and_made_when_asked(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (found,) = load_facts(
        keep(store, "Package: one\n/b file x\n/a -> b\n/c/ 0700"), store, SilentProgress()
    )
    assert list(found.entries) == ["/a", "/b", "/c"]
    assert found.entries[RootPath("/a")].kind is FileType.LINK
    assert found.entries[RootPath("/a")].target == "b"
    with pytest.raises(KeyError):
        found.entries[RootPath("/d")]


INTERRUPTED = """
import signal, sys, time
from pathlib import Path
from minbuild.archive.model import Package
from minbuild.facts.process_pool import map_packages
from minbuild.progress import SilentProgress
from minbuild.cache.store import Store

def slow(path, name, added):
    time.sleep(600)

signal.signal(signal.SIGINT, signal.default_int_handler)
store = Store(Path(sys.argv[1]))
tasks = [(Package(d, "1", "amd64", "", "", 1 << 30, d), None) for d in sys.argv[2:]]
print("begun", flush=True)
list(map_packages(slow, tasks, store, SilentProgress(), "working"))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_after_an_interrupt(tmp_path: Path, number: signal.Signals) -> None:
    store = Store(tmp_path / "store")
    digests = [store.add(name) for name in (b"one", b"two")]
    argv = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "store"), *digests]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            children = wait_for(lambda: settled(process.pid) - {process.pid})
            process.send_signal(number)
            process.communicate(timeout=PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT if process.poll() else signal.SIGKILL)
    assert process.returncode == -number
    assert wait_for(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in children))


def settled(leader: int) -> set[int]:
    """The processes of a session once no more are forked; Python drops an interrupt in a fork."""
    found = session(leader)
    time.sleep(0.5)
    return found if found == session(leader) else set()


def session(leader: int) -> set[int]:
    """Processes of the session that this process leads."""
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
            continue
        if int(fields[3]) == leader:
            found.add(int(directory.name))
    return found
