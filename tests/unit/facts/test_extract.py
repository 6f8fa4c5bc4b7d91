"""Contents on demand, and files that a manifest makes itself."""

from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.errors import ArchiveError, ManifestError, MinbuildError
from minbuild.facts.model import FileEntry, Script
from minbuild.facts.package_facts import (
    extract_contents,
    extract_from_packages,
    load_facts,
)
from minbuild.facts.rendered_files import collect_rendered_files
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import Location, RenderedFile
from minbuild.paths import RootPath
from minbuild.progress import SilentProgress
from tests.support.deb import Member, sha256
from tests.unit.facts.packages import keep, keep_bytes, members

TEXT = "Package: one\n/a file hello\n/b = /a\n/c file other\n/d file hello\n"
HELLO, OTHER = sha256(b"hello"), sha256(b"other")
HERE = Location("host.yaml", 3, 5, "files")


def test_only_wanted_contents_come_into_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (package,) = keep(store, TEXT)
    extract_contents(package, {HELLO}, store)
    assert store.read(HELLO) == b"hello"
    assert store.path(OTHER) is None


def test_contents_that_are_there_need_no_package(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (package,) = keep(store, TEXT)
    store.add(b"hello")
    store.discard(package.sha256)
    extract_contents(package, [HELLO], store)


def test_contents_of_several_packages_come_side_by_side(tmp_path: Path) -> None:
    store = Store(tmp_path)
    noise = [bytes([n]) * (2 << 20) for n in range(3)]
    packages = [
        keep_bytes(store, f"n{n}", members([Member("./x", data=data)], f"n{n}"))
        for n, data in enumerate(noise)
    ]
    wanted = {p: [sha256(data)] for p, data in zip(packages, noise, strict=True)}
    extract_from_packages(wanted, store, SilentProgress())
    assert [store.read(sha256(data)) for data in noise] == noise
    store.close()
    assert not any(tmp_path.joinpath("partial").iterdir())


def test_a_package_that_was_analysed_in_this_run_is_not_unpacked_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (package,) = keep(store, TEXT)
    load_facts([package], store, SilentProgress())
    store.discard(package.sha256)
    extract_contents(package, {HELLO}, store)
    assert store.read(HELLO) == b"hello"


def test_contents_that_changed_since_are_taken_from_the_package(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (package,) = keep(store, TEXT)
    load_facts([package], store, SilentProgress())
    spool = store.unpacked.directory / package.sha256
    spool.write_bytes(spool.read_bytes().replace(b"hello", b"HELLO"))
    extract_contents(package, {HELLO, OTHER}, store)
    assert (store.read(HELLO), store.read(OTHER)) == (b"hello", b"other")


def test_a_content_that_the_package_has_not_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (package,) = keep(store, TEXT)
    with pytest.raises(ArchiveError, match="no file with the SHA-256 0000") as caught:
        extract_contents(package, ["0" * 64], store)
    assert caught.value.where == "one 1.0 (amd64)"


def test_a_package_that_changed_gives_no_content(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (package,) = keep(store, TEXT)
    load_facts([package], store, SilentProgress())
    path = store.path(package.sha256)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(members([Member("./a", data=b"evil!")]))
    with pytest.raises(MinbuildError, match="damaged and has been removed"):
        extract_contents(package, [HELLO], Store(tmp_path))
    assert store.path(HELLO) is None
    assert store.path(package.sha256) is None


def test_rendered_files_are_files_like_others(tmp_path: Path) -> None:
    store = Store(tmp_path)
    init = RenderedFile(RootPath("/init"), HERE, b"#!/bin/sh\n", 0o755, uid=1)
    link = RenderedFile(RootPath("/a"), HERE, link="init")
    directory = RenderedFile(RootPath("/data"), HERE, mode=0o700, directory=True)
    found = collect_rendered_files([init, link, directory, init], store)
    digest = sha256(b"#!/bin/sh\n")
    assert found.owner == ""
    assert list(found.entries.values()) == [
        FileEntry(RootPath("/a"), FileType.LINK, 0o777, target="init"),
        FileEntry(RootPath("/data"), FileType.DIRECTORY, 0o700),
        FileEntry(RootPath("/init"), FileType.FILE, 0o755, 1, 0, 10, digest),
    ]
    assert store.read(digest) == b"#!/bin/sh\n"
    assert found.facts(RootPath("/init")) == Script("/bin/sh")
    assert found.facts(RootPath("/a")) is None
    assert found.facts(RootPath("/nowhere")) is None


def test_two_different_files_at_one_path_are_an_error(tmp_path: Path) -> None:
    one = RenderedFile(RootPath("/a"), HERE, b"1")
    two = RenderedFile(RootPath("/a"), Location("b.yaml", 1, 1), b"2")
    with pytest.raises(ManifestError) as caught:
        collect_rendered_files([one, two], Store(tmp_path))
    assert caught.value.where == "b.yaml:1:1"
    assert "host.yaml:3:5" in caught.value.what
