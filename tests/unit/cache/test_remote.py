"""A store that several machines share: in a directory, and in an S3 server."""

import asyncio
import hashlib
import http.server
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from minbuild.cache import fsspec_objects
from minbuild.cache.fsspec_objects import FsspecObjects
from minbuild.cache.records import RecordKind
from minbuild.cache.remote import RemoteStore, name_content, name_records, open_objects
from minbuild.cache.remote_objects import DirectoryObjects, Objects, RemoteFailed, RemoteRefused
from minbuild.cache.store import Store
from minbuild.distribution.signify import generate_keys, read_public_key, read_secret_key
from minbuild.pipeline.shared_store import KeySeal

pytestmark = pytest.mark.xdist_group("shared_store")
DATA = b"a package\n" * 100
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of an S3 server, which enforces create-only writes."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["directory", "s3"])
def objects(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Objects:
    if request.param == "directory":
        return open_objects(str(tmp_path / "shared"))
    return open_bucket(request.getfixturevalue("s3_server"), tmp_path.name, monkeypatch)


def open_bucket(address: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """An empty bucket."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    bucket = "".join(letter if letter.isalnum() else "-" for letter in name.lower())

    async def make_bucket() -> None:
        files = s3fs.S3FileSystem(asynchronous=True, skip_instance_cache=True)
        session = await files.set_session()
        await files._mkdir(bucket)
        await session.close()

    asyncio.run(make_bucket())
    return open_objects(f"s3://{bucket}/team")


def read_all(objects: Objects, *names: str, limit: int = 1 << 20) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    objects.read(dict.fromkeys(names, limit), found.__setitem__)
    return found


def open_remote(
    objects: Objects, seal: KeySeal | None = None, *, writes: bool = True
) -> RemoteStore:
    return RemoteStore("shared", objects, writes=writes, seal=seal)


def test_what_one_machine_shares_another_one_takes(objects: Objects, tmp_path: Path) -> None:
    notes: list[str] = []
    first, second = Store(tmp_path / "first"), Store(tmp_path / "second")
    first.add(DATA)
    giver, taker = open_remote(objects), open_remote(objects)
    assert giver.fetch_files(first, {SHA256: len(DATA)}, notes.append) == frozenset()
    giver.share_files(first, [SHA256], notes.append)
    assert taker.fetch_files(second, {SHA256: len(DATA)}, notes.append) == {SHA256}
    assert second.read(SHA256) == DATA
    assert notes == []


def test_an_object_is_made_once_and_never_replaced(objects: Objects) -> None:
    assert objects.create({"cas/a": b"first"}) == {"cas/a"}
    assert objects.create({"cas/a": b"second", "cas/b": b"new"}) == {"cas/b"}
    assert read_all(objects, "cas/a", "cas/b", "cas/c") == {
        "cas/a": b"first", "cas/b": b"new", "cas/c": None,
    }  # fmt: skip


def test_of_many_writers_at_once_one_wins(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path / "shared")
    made: list[frozenset[str]] = []
    threads = [
        threading.Thread(target=lambda n=number: made.append(objects.create({"cas/x": b"%d" % n})))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, made)) == [0] * 7 + [1]


def test_no_more_than_the_size_is_read_and_a_batch_leaves_no_thread(objects: Objects) -> None:
    objects.create({"cas/a": bytes(5000)})
    threads = threading.active_count()
    assert read_all(objects, "cas/a", limit=10)["cas/a"] == bytes(11)
    assert threading.active_count() <= threads


def test_objects_are_listed_and_removed(objects: Objects) -> None:
    objects.create({"cas/a": b"1", "cas/b/c": b"22", "records/d": b"3"})
    rows = {row.name: row for row in objects.iter_objects("cas/")}
    assert {name: row.size for name, row in rows.items()} == {"cas/a": 1, "cas/b/c": 2}
    assert abs(rows["cas/a"].modified - time.time()) < 3600
    objects.remove(["cas/a", "cas/none"])
    assert [row.name for row in objects.iter_objects("cas/")] == ["cas/b/c"]


@pytest.mark.parametrize(
    "lie",
    [b"other", DATA[:-1], DATA + b"x", bytes([DATA[0] ^ 1]) + DATA[1:], b""],
    ids=["other", "short", "long", "flipped", "empty"],
)
def test_a_store_that_lies_is_told_and_not_believed(lie: bytes, tmp_path: Path) -> None:
    notes: list[str] = []
    objects = DirectoryObjects(tmp_path / "shared")
    objects.create({name_content(SHA256): lie})
    store, remote = Store(tmp_path / "store"), open_remote(objects)
    assert remote.fetch_files(store, {SHA256: len(DATA)}, notes.append) == frozenset()
    assert store.path(SHA256) is None
    assert store.path(hashlib.sha256(lie).hexdigest()) is None
    (note,) = notes
    assert f"wrong bytes as {name_content(SHA256)}" in note
    store.add(DATA)
    remote.share_files(
        store, [SHA256], notes.append
    )  # it is there: whoever looks after it removes it
    assert read_all(objects, name_content(SHA256)) == {name_content(SHA256): lie}


def test_what_is_only_read_is_never_written(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path / "shared")
    store, remote = Store(tmp_path / "store"), open_remote(objects, writes=False)
    store.add(DATA)
    remote.fetch_files(store, {SHA256: len(DATA)}, print)
    remote.share_files(store, [SHA256], print)
    assert not (tmp_path / "shared").exists()


def test_an_unfinished_object_is_never_seen_and_goes_after_a_day(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path / "shared")
    objects.create({"cas/a": b"1"})
    for name, age in (("new", 0), ("old", 100_000)):
        partial_file = tmp_path / "shared" / "partial" / name
        partial_file.write_bytes(b"half of a pack")
        os.utime(partial_file, (time.time() - age, time.time() - age))
    assert [row.name for row in objects.iter_objects("cas/")] == ["cas/a"]
    assert [path.name for path in (tmp_path / "shared" / "partial").iterdir()] == ["new"]


@pytest.fixture(scope="module")
def seals(tmp_path_factory: pytest.TempPathFactory) -> tuple[KeySeal, KeySeal]:
    """Two seals, neither of which believes the other."""
    made = []
    for name in ("ours", "theirs"):
        top = tmp_path_factory.mktemp(name)
        generate_keys(top / "key.pub", top / "key.sec")
        made.append(KeySeal(read_secret_key(top / "key.sec"), (read_public_key(top / "key.pub"),)))
    return made[0], made[1]


ROWS = (
    (RecordKind.FACTS, f"{SHA256}/0", b"facts"),
    (RecordKind.FACTS, f"{SHA256}/1", b""),
    (RecordKind.FILES, SHA256, b"files\0"),
)


def share_rows(objects: Objects, store: Store, seal: KeySeal) -> None:
    remote = open_remote(objects, seal)
    remote.fetch_records(store, RecordKind.FILES, [SHA256], print)
    remote.share_records(RecordKind.FILES, {SHA256: ROWS}, print)


def test_sealed_records_are_taken(
    objects: Objects, tmp_path: Path, seals: tuple[KeySeal, KeySeal]
) -> None:
    notes: list[str] = []
    store = Store(tmp_path / "store")
    share_rows(objects, store, seals[0])
    reader = open_remote(objects, KeySeal(None, seals[0].public))
    reader.fetch_records(store, RecordKind.FILES, [SHA256, OTHER], notes.append)
    assert [(kind, key, store.get(kind, key)) for kind, key, _ in ROWS] == list(ROWS)
    assert notes == []


def test_records_without_a_seal_that_is_believed_are_not_taken(
    tmp_path: Path, seals: tuple[KeySeal, KeySeal]
) -> None:
    notes: list[str] = []
    objects, store = DirectoryObjects(tmp_path / "shared"), Store(tmp_path / "store")
    share_rows(objects, store, seals[1])
    name = name_records(RecordKind.FILES, SHA256)
    sealed = read_all(objects, name)[name]
    assert sealed is not None
    remote = open_remote(objects, KeySeal(None, seals[0].public))
    remote.fetch_records(store, RecordKind.FILES, [SHA256], notes.append)
    believer = open_remote(objects, KeySeal(None, seals[1].public))
    flipped = bytes([*sealed[:-1], sealed[-1] ^ 1])
    objects.create({name_records(RecordKind.FILES, OTHER): sealed})  # under another file's name
    believer.fetch_records(store, RecordKind.FILES, [OTHER], notes.append)
    for lie in (flipped, sealed[:60], b"", sealed + b"x"):
        objects.remove([name])
        objects.create({name: lie})
        believer.fetch_records(store, RecordKind.FILES, [SHA256], notes.append)
    assert len(notes) == 6
    assert all("without the seal of a key that is believed" in note for note in notes)
    assert not store.get_all(RecordKind.FILES)
    assert not store.get_all(RecordKind.FACTS)


def test_without_a_key_records_are_not_even_asked_for(
    tmp_path: Path, seals: tuple[KeySeal, KeySeal]
) -> None:
    objects, store = DirectoryObjects(tmp_path / "shared"), Store(tmp_path / "store")
    share_rows(objects, store, seals[0])
    open_remote(objects).fetch_records(store, RecordKind.FILES, [SHA256], print)
    assert not store.get_all(RecordKind.FILES)


class _Answers(http.server.BaseHTTPRequestHandler):
    """A server that fails as often as it is told, or answers slowly."""

    failures = 0
    pause = 0.0

    def do_GET(self) -> None:
        time.sleep(self.pause)
        if _Answers.failures:
            _Answers.failures -= 1
            self.send_error(503)
        elif self.path.endswith("/absent"):
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(fsspec_objects, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(_Answers, "failures", 0)
    monkeypatch.setattr(_Answers, "pause", 0.0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=partial(server.serve_forever, 0.01), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/store"
        server.shutdown()
        thread.join()


def test_a_remote_that_fails_at_times_is_asked_again(web: str) -> None:
    _Answers.failures = fsspec_objects.ATTEMPTS - 1
    assert read_all(FsspecObjects(web), "a") == {"a": DATA}
    assert read_all(FsspecObjects(web), "absent") == {"absent": None}


@pytest.mark.parametrize("fault", ["503", "slow"])
def test_a_remote_that_fails_is_left_and_the_build_goes_on(
    web: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "503":
        _Answers.failures = 1000
    else:
        monkeypatch.setattr(_Answers, "pause", 0.6)
    notes: list[str] = []
    store = Store(tmp_path / "store")
    remote = RemoteStore(web, FsspecObjects(web, patience=0.1), writes=True, seal=None)
    for _ in range(2):
        assert remote.fetch_files(store, {SHA256: 10}, notes.append) == frozenset()
    (note,) = notes  # it is asked once, and told once
    assert "cannot be read" in note


def test_a_web_server_is_read_and_not_written(web: str, tmp_path: Path) -> None:
    notes: list[str] = []
    store, remote = Store(tmp_path / "store"), open_remote(FsspecObjects(web))
    assert remote.fetch_files(store, {SHA256: len(DATA)}, notes.append) == {SHA256}
    with pytest.raises(RemoteFailed):
        FsspecObjects(web).create({"cas/a": b"1"})


def test_a_bucket_that_is_not_there_refuses(
    s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_bucket(s3_server, tmp_path.name, monkeypatch)
    notes: list[str] = []
    store, remote = Store(tmp_path / "store"), open_remote(open_objects("s3://nobodys/x"))
    store.add(DATA)
    remote.fetch_files(store, {SHA256: len(DATA)}, notes.append)
    remote.share_files(store, [SHA256], notes.append)
    assert len(notes) == 1
    with pytest.raises(RemoteRefused):
        open_objects("s3://nobodys/x").create({"a": b"1"})


def test_a_url_that_no_library_knows_is_told() -> None:
    with pytest.raises(RemoteFailed, match="nosuch"):
        open_objects("nosuch://x/y")


def test_what_was_made_of_others_is_taken_under_its_key(
    tmp_path: Path, seals: tuple[KeySeal, KeySeal]
) -> None:
    objects = DirectoryObjects(tmp_path / "shared")
    kind, notes = RecordKind.SEGMENT, list[str]()
    first, second, third = (Store(tmp_path / name) for name in ("first", "second", "third"))
    first.add(DATA)
    maker = open_remote(objects, seals[0])
    maker.fetch_made(first, kind, {OTHER: 2000}, notes.append)
    maker.share_made(first, kind, {OTHER: SHA256}, notes.append)
    open_remote(objects, seals[0]).fetch_made(second, kind, {OTHER: 2000}, notes.append)
    assert second.get(kind, OTHER) == SHA256.encode()
    assert second.read(SHA256) == DATA
    assert notes == []
    open_remote(objects, seals[1]).fetch_made(third, kind, {OTHER: 2000}, notes.append)
    open_remote(objects).fetch_made(third, kind, {OTHER: 2000}, notes.append)
    assert third.get(kind, OTHER) is None
    assert third.path(SHA256) is None
    assert len(notes) == 1


def test_what_is_larger_than_it_can_be_is_not_taken(
    tmp_path: Path, seals: tuple[KeySeal, KeySeal]
) -> None:
    notes: list[str] = []
    objects = DirectoryObjects(tmp_path / "shared")
    first, second = Store(tmp_path / "first"), Store(tmp_path / "second")
    first.add(DATA)
    maker = open_remote(objects, seals[0])
    maker.fetch_made(first, RecordKind.SEGMENT, {OTHER: 2000}, notes.append)
    maker.share_made(first, RecordKind.SEGMENT, {OTHER: SHA256}, notes.append)
    taker = open_remote(objects, seals[0])
    taker.fetch_made(second, RecordKind.SEGMENT, {OTHER: 999}, notes.append)
    assert second.path(SHA256) is None
    assert "wrong bytes" in notes[0]
