"""The content-addressed cache."""

import contextlib
import hashlib
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from minbuild.cache.records import RecordKind
from minbuild.cache.store import CacheCorrupted, Store
from minbuild.errors import ToolError

KIND, OTHER_KIND = RecordKind.WEIGHT, RecordKind.RENDERING
ABSENT = "0" * 64


def test_what_was_added_is_read_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    digest = store.add(b"content")
    assert digest == hashlib.sha256(b"content").hexdigest()
    assert store.read(digest) == b"content"
    assert store.path(digest) is not None


def test_what_was_never_added_is_absent(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.read(ABSENT) is None
    assert store.path(ABSENT) is None
    assert store.get(KIND, "key") is None


def test_a_damaged_file_is_forgotten_and_never_served(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.add(b"content")
    place = store.path(digest)
    assert place is not None
    place.chmod(0o644)
    place.write_bytes(b"c0ntent")
    assert store.read(digest) is None
    assert store.path(digest) is None


def test_records_of_a_kind_are_found_by_prefix_in_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(KIND, {"x/2": b"two", "x/1": b"one", "y/1": b"other"})
    store.put(OTHER_KIND, {"x/3": b"three"})
    assert list(store.get_all(KIND, "x/").items()) == [("x/1", b"one"), ("x/2", b"two")]


def test_a_record_is_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(KIND, {"k": b"old"})
    store.put(KIND, {"k": b"new"})
    assert Store(tmp_path).get(KIND, "k") == b"new"


def test_work_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.create_temp_dir() as work:
        (work / "half").write_bytes(b"...")
    store.add(b"whole")
    assert list((tmp_path / "partial").iterdir()) == []


def test_records_that_are_no_database_are_left_for_new_ones(tmp_path: Path) -> None:
    with contextlib.closing(
        Store(tmp_path)
    ) as former:  # a database that is closed later writes its pages back
        former.put(KIND, {"k": b"v"})
        first = former.current_file
    Path(f"{first}-wal").unlink(missing_ok=True)
    first.write_bytes(b"this is no database at all" * 100)
    store = Store(tmp_path)
    assert store.get(KIND, "k") is None
    assert store.current_file != first
    assert [wound for wound in store.damage_log if first.name in wound]
    store.put(KIND, {"k": b"again"})
    assert Store(tmp_path).get(KIND, "k") == b"again"


def test_a_record_whose_bytes_changed_is_dropped_and_named(tmp_path: Path) -> None:
    Store(tmp_path).put(KIND, {"k": b"value", "other": b"kept"})
    with contextlib.closing(sqlite3.connect(Store(tmp_path).current_file)) as records, records:
        records.execute("UPDATE record SET value = replace(value, 'v', 'w') WHERE key = 'k'")
    store = Store(tmp_path)
    assert store.get(KIND, "k") is None
    assert store.get(KIND, "other") == b"kept"
    assert store.damage_log == [f"record {KIND} k"]


def test_a_record_under_a_key_that_is_not_its_own_is_damaged(tmp_path: Path) -> None:
    Store(tmp_path).put(KIND, {"k": b"value"})
    with contextlib.closing(sqlite3.connect(Store(tmp_path).current_file)) as records, records:
        records.execute("UPDATE record SET key = 'l'")
    assert Store(tmp_path).get(KIND, "l") is None


def test_a_file_is_checked_before_it_is_used_by_its_place(tmp_path: Path) -> None:
    digest = Store(tmp_path).add(b"content")
    store = Store(tmp_path)
    place = store.path(digest)
    assert place is not None
    place.chmod(0o644)
    place.write_bytes(b"c0ntent")
    assert store.find_verified(digest) is None
    assert store.damage_log == [f"file {digest}"]
    with pytest.raises(CacheCorrupted):
        store.require(digest)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_without_rights_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ToolError, match="cannot write"):
        Store(tmp_path / "store")


def test_a_store_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match="cannot write"):
        Store(tmp_path / "file" / "store")


def _fill(directory: Path, number: int) -> None:
    store = Store(directory)
    for n in range(50):
        store.add(f"shared {n}".encode())
        store.put(KIND, {f"{number}/{n}": b"x"})


def test_processes_write_side_by_side(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(tmp_path, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    store = Store(tmp_path)
    assert sum(len(store.get_all(KIND, f"{n}/")) for n in range(3)) == 150
    for n in range(50):
        assert store.read(hashlib.sha256(f"shared {n}".encode()).hexdigest()) is not None


def test_a_turn_is_one_processs_and_one_threads(tmp_path: Path) -> None:
    store = Store(tmp_path)
    code = (
        "import sys; from pathlib import Path; from minbuild.cache.store import Store\n"
        "with Store(Path(sys.argv[1])).lock('a'):\n"
        "    print('mine', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "mine\n"
        taken = threading.Event()

        def take() -> None:
            with store.lock("a"):
                taken.set()

        with store.lock("b"):  # another's turn is not waited for
            waiting = threading.Thread(target=take)
            waiting.start()
            assert not taken.wait(0.2)
        other.stdin.close()
        assert taken.wait(90)
        waiting.join(90)


def test_records_that_rest_are_asked_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(KIND, {"key": b"value"})
    store.close_this_thread()
    assert store.get(KIND, "key") == b"value"
