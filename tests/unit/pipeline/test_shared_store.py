"""The shared store of a session: its settings, what downloads and facts take of it, what is removed."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from minbuild.archive import lockfile
from minbuild.archive.download import DownloadSpec, download, fetch_packages
from minbuild.archive.mirror import Mirror
from minbuild.archive.model import Lock, LockedSuite
from minbuild.cache.records import RecordKind
from minbuild.cache.remote import RemoteStore, name_content, name_records
from minbuild.cache.remote_objects import DirectoryObjects
from minbuild.cache.store import Store
from minbuild.cli.main import run_command_line
from minbuild.distribution.signify import generate_keys
from minbuild.errors import ArchiveError, ToolError, UsageError
from minbuild.facts.package_facts import is_analysed, load_facts
from minbuild.facts.shared_facts import fetch_shared_facts, share_facts
from minbuild.pipeline.session import Session
from minbuild.pipeline.shared_store import open_shared_store
from minbuild.pipeline.shared_store_gc import collect_shared_garbage
from minbuild.progress import SilentProgress
from tests.unit.facts.packages import keep

PROGRESS = SilentProgress()
DATA = b"a package"
SHA256 = hashlib.sha256(DATA).hexdigest()
TEXT = """
    Package: one
    /usr/lib/libx.so.1  elf soname=libx.so.1 needed=libc.so.6
    /usr/bin/x          0755 file "#!/bin/sh -e\\n"
    /usr/lib/modules/6.1/a.ko.xz     module name=a depends=b alias=pci:*

    Package: two
    /usr/share/two      file two
"""
VARIABLES = ("REMOTE", "REMOTE_MODE", "KEYS", "SIGN")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"MINBUILD_STORE_{name}", raising=False)


def open_store(top: Path, name: str, *, seal: bool = True) -> Store:
    """A store of its own, with the shared one beside it."""
    if seal and not (top / "key.pub").exists():
        generate_keys(top / "key.pub", top / "key.sec")
    if seal:
        os.environ["MINBUILD_STORE_KEYS"] = str(top / "key.pub")
        os.environ["MINBUILD_STORE_SIGN"] = str(top / "key.sec")
    return Session(top / name, shared_store=str(top / "shared")).store


def make_spec(*urls: str) -> DownloadSpec:
    return DownloadSpec("a file", tuple((url,) for url in urls), SHA256, len(DATA), "try again")


def test_a_file_is_taken_of_the_shared_store_before_a_mirror_is_asked(tmp_path: Path) -> None:
    (tmp_path / "mirror").write_bytes(DATA)
    first = open_store(tmp_path, "first", seal=False)
    download([make_spec((tmp_path / "mirror").as_uri())], first, PROGRESS, "files")
    second = open_store(tmp_path, "second", seal=False)
    download([make_spec("http://127.0.0.1:1/")], second, PROGRESS, "files")
    assert second.read(SHA256) == DATA


def test_packages_come_of_a_directory_without_a_network(tmp_path: Path) -> None:
    (made, _) = keep(Store(tmp_path / "made"), TEXT)
    data = Store(tmp_path / "made").require(made.sha256)
    package = replace(made, size=len(data))
    store = open_store(tmp_path, "store", seal=False)
    mirror = Mirror("http://127.0.0.1:1/debian", "http://127.0.0.1:1/security", "a test")
    with pytest.raises(ArchiveError, match="the store lacks one"):
        fetch_packages([package], mirror, store, offline=True, progress=PROGRESS)
    DirectoryObjects(tmp_path / "shared").create({name_content(made.sha256): data})
    other = open_store(tmp_path, "other", seal=False)
    fetch_packages([package], mirror, other, offline=True, progress=PROGRESS)
    assert other.read(made.sha256) == data


def test_facts_that_one_machine_found_another_one_knows_without_the_package(tmp_path: Path) -> None:
    first, second = open_store(tmp_path, "first"), open_store(tmp_path, "second")
    packages = keep(first, TEXT)
    fetch_shared_facts(packages, first, PROGRESS)
    found = load_facts(packages, first, PROGRESS)
    share_facts(packages, first, PROGRESS)
    assert not any(is_analysed(package, second) for package in packages)
    assert fetch_shared_facts(packages, second, PROGRESS) == packages[:1]
    assert all(is_analysed(package, second) for package in packages)
    for mine, theirs in zip(load_facts(packages, second, PROGRESS), found, strict=True):
        assert dict(mine.entries) == dict(theirs.entries)
        paths = [path for path in mine.entries if not path.endswith(".ko.xz")]
        assert [mine.facts(path) for path in paths] == [theirs.facts(path) for path in paths]
        for kind in (RecordKind.MODULE_ALIASES, RecordKind.FACTS):
            assert second.get_all(kind) == first.get_all(kind)
    assert second.path(packages[0].sha256) is None


def test_who_has_no_key_gives_and_takes_no_facts(tmp_path: Path) -> None:
    first = open_store(tmp_path, "first", seal=False)
    packages = keep(first, TEXT)
    fetch_shared_facts(packages, first, PROGRESS)
    load_facts(packages, first, PROGRESS)
    share_facts(packages, first, PROGRESS)
    assert not (tmp_path / "shared").exists()


def test_without_the_network_only_a_directory_is_used(tmp_path: Path) -> None:
    assert open_shared_store(str(tmp_path), offline=True) is not None
    assert open_shared_store("s3://bucket/x", offline=True) is None
    assert open_shared_store("s3://bucket/x", offline=False) is not None
    assert open_shared_store("", offline=False) is None


def test_wrong_settings_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINBUILD_STORE_REMOTE_MODE", "write-only")
    with pytest.raises(UsageError, match="has no mode write-only"):
        open_shared_store(str(tmp_path), offline=False)
    monkeypatch.delenv("MINBUILD_STORE_REMOTE_MODE")
    with pytest.raises(ToolError, match="cannot be opened") as raised:
        open_shared_store("nosuch://x", offline=False)
    assert "minbuild[fleet]" in raised.value.fix
    monkeypatch.setenv("MINBUILD_STORE_SIGN", str(tmp_path / "key.sec"))
    with pytest.raises(UsageError, match="none that is believed"):
        open_shared_store(str(tmp_path), offline=False)


def fill(top: Path) -> DirectoryObjects:
    """Two files and two records, one of each of a lock, all of them old; and a new file."""
    objects = DirectoryObjects(top / "shared")
    names = [name_content("a" * 64), name_content("c" * 64)]
    names += [name_records(RecordKind.FILES, digit * 64) for digit in "ac"]
    objects.create(dict.fromkeys(names, b"1234"))
    for name in names:
        os.utime(top / "shared" / name, (time.time() - 40 * 86_400,) * 2)
    objects.create({name_content("d" * 64): b"new"})
    return objects


def list_names(objects: DirectoryObjects) -> list[str]:
    return sorted(row.name for row in objects.iter_objects(""))


def test_what_is_old_and_in_no_lock_is_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = fill(tmp_path)
    suite = LockedSuite("trixie", "debian", 1_789_199_741, "a" * 64)
    (tmp_path / "host.lock").write_text(lockfile.render_lock(Lock("amd64", (suite,), (), ())))
    words = ["store", "gc-shared", "--store-remote", str(tmp_path / "shared"), "--json",
             "--store", str(tmp_path / "store"), "--keep", str(tmp_path / "host.lock")]  # fmt: skip
    assert run_command_line(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(row["kind"], row["entries"], row["bytes"]) for row in document["rows"]] == [
        ("file", 1, 4), ("records", 1, 4),
    ]  # fmt: skip
    assert list_names(objects) == sorted(
        [name_content("a" * 64), name_content("d" * 64), name_records(RecordKind.FILES, "a" * 64)]
    )


def test_ages_are_by_the_clock_of_the_shared_store(tmp_path: Path) -> None:
    """A remote whose clock is a month behind: what was written just now is not old."""

    class Behind(DirectoryObjects):
        def create(self, sources: Mapping[str, Path | bytes]) -> frozenset[str]:
            made = super().create(sources)
            for name in made:
                os.utime(self.directory / name, (time.time() - 35 * 86_400,) * 2)
            return made

    objects = Behind(tmp_path / "shared")
    objects.create({name_content("a" * 64): b"just now"})
    remote = RemoteStore("shared", objects, writes=True, seal=None)
    assert collect_shared_garbage(remote, days=30, locks=()) == ()
    assert list_names(objects) == [name_content("a" * 64)]
    (kind,) = collect_shared_garbage(remote, days=0, locks=())
    assert (kind.kind, kind.bytes) == ("file", 8)


def test_a_command_that_needs_a_shared_store_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["store", "gc-shared", "--store", str(tmp_path)]) == 2
    assert "no shared store is named" in capsys.readouterr().err
