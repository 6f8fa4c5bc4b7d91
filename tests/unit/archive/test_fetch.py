import hashlib
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest

from minbuild.archive.download import fetch_packages
from minbuild.archive.mirror import Mirror
from minbuild.archive.model import Package
from minbuild.cache.store import Store
from minbuild.errors import ArchiveError, ToolError
from minbuild.progress import SilentProgress
from tests.support.patience import wait_for
from tests.support.server import Fault
from tests.unit.archive.conftest import World

DOC = "hello-doc_1.0_all.deb"


def get(world: World, *names: str, offline: bool = False) -> list[Package]:
    index = world.open(offline=offline)
    found = [package for name in names if (package := index.find_package(name))]
    world.server.requests.clear()
    fetch_packages(found, world.mirror, world.store, offline=offline, progress=world.progress)
    return found


def held(store: Store, package: Package) -> bool:
    place = store.path(package.sha256)
    return place is not None and hashlib.sha256(place.read_bytes()).hexdigest() == package.sha256


def test_packages_come_into_the_store_by_their_digest(world: World) -> None:
    for package in get(world, "hello", "libhello1", "hello-doc"):
        assert held(world.store, package)


def test_what_the_store_has_is_not_fetched_again(world: World) -> None:
    get(world, "hello")
    get(world, "hello")
    assert world.server.requests == []


@pytest.mark.parametrize(
    "fault", [Fault.BUSY, Fault.MANY, Fault.TRUNCATE, Fault.STALL, Fault.REDIRECT, Fault.FLIP]
)
def test_a_mirror_that_fails_once_is_survived(world: World, fault: Fault) -> None:
    world.server.fail(DOC, fault)
    (package,) = get(world, "hello-doc")
    assert held(world.store, package)


def test_a_truncated_download_is_resumed_where_it_ended(world: World) -> None:
    world.server.fail(DOC, Fault.TRUNCATE)
    (package,) = get(world, "hello-doc")
    assert held(world.store, package)
    assert world.server.requests[-1].endswith(f"bytes={package.size // 2}-")


def test_an_interrupted_run_is_resumed_by_the_next_one(world: World) -> None:
    package = world.open().find_package("hello-doc")
    assert package is not None
    data = world.archive.find_deb("hello-doc").read_bytes()
    world.store.partial_path(package.sha256).write_bytes(data[:100])
    get(world, "hello-doc")
    assert held(world.store, package)
    assert [one.partition(" ")[2] for one in world.server.requests] == ["bytes=100-"]


@pytest.mark.parametrize("junk", [b"junk", b"x" * 10_000_000])
def test_a_partial_download_that_is_wrong_is_thrown_away(world: World, junk: bytes) -> None:
    package = world.open().find_package("hello-doc")
    assert package is not None
    world.store.partial_path(package.sha256).write_bytes(junk)
    get(world, "hello-doc")
    assert held(world.store, package)


@pytest.mark.parametrize("fault", [Fault.FLIP, Fault.SHORT, Fault.HTML, Fault.HUGE])
def test_a_package_that_is_not_what_the_index_says_is_refused(world: World, fault: Fault) -> None:
    world.server.fail(DOC, fault, forever=True)
    with pytest.raises(ArchiveError, match=r"package hello-doc 1\.0 is corrupt") as caught:
        get(world, "hello-doc")
    package = world.open().find_package("hello-doc")
    assert package is not None
    assert f"expected {package.size} bytes with SHA-256 {package.sha256}" in caught.value.what
    assert caught.value.where.endswith(DOC)
    assert caught.value.exit_code == 4
    assert world.store.path(package.sha256) is None


def test_a_package_that_is_gone_is_named_with_what_to_do(world: World) -> None:
    world.server.fail(DOC, Fault.NOT_FOUND, forever=True)
    with pytest.raises(ArchiveError, match=r"does not have package hello-doc 1\.0.*404") as caught:
        get(world, "hello-doc")
    assert "minbuild lock MANIFEST --update" in caught.value.fix


def test_a_mirror_that_stays_busy_is_given_up(world: World) -> None:
    world.server.fail(DOC, Fault.BUSY, forever=True)
    with pytest.raises(ArchiveError, match=r"cannot get package hello-doc.*503"):
        get(world, "hello-doc")


def test_offline_names_what_the_store_lacks(world: World) -> None:
    world.open()
    with pytest.raises(ArchiveError, match=r"the store lacks hello 2\.0-1, and --offline forbids"):
        get(world, "hello", offline=True)
    assert world.server.requests == []


def test_a_proxy_of_the_environment_is_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(ArchiveError, match="cannot get the InRelease of trixie"):
        world.open()
    assert world.server.requests == []
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert world.open().find_package("hello") is not None


def _fetch(packages: list[Package], mirror: Mirror, directory: Path) -> None:
    fetch_packages(packages, mirror, Store(directory), offline=False, progress=SilentProgress())


def _fetch_little(packages: list[Package], mirror: Mirror, directory: Path) -> None:
    import resource

    store = Store(directory)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    try:
        fetch_packages(packages, mirror, store, offline=False, progress=SilentProgress())
    except ToolError as error:
        sys.exit(error.what)


def test_a_disk_that_takes_no_more_is_an_error_of_this_machine(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    package = world.open().find_package("hello-doc")
    assert package is not None
    spawn = multiprocessing.get_context("spawn")
    one = spawn.Process(target=_fetch_little, args=([package], world.mirror, world.store.directory))
    one.start()
    one.join()
    assert (one.exitcode, capfd.readouterr().err.strip()) == (1, "cannot write: File too large")
    assert world.store.path(package.sha256) is None
    get(world, "hello-doc")
    assert held(world.store, package)


def test_an_interrupt_ends_a_download_that_a_silent_server_holds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = world.open().find_package("hello-doc")
    assert package is not None
    world.server.requests.clear()
    world.server.fail(DOC, Fault.STALL, forever=True)
    monkeypatch.setenv("MINBUILD_TIMEOUT", "3600")
    spawn = multiprocessing.get_context("spawn")
    one = spawn.Process(target=_fetch, args=([package], world.mirror, world.store.directory))
    one.start()
    part = world.store.partial_path(package.sha256)
    wait_for(lambda: part.exists() and part.stat().st_size)
    os.kill(one.pid or 0, signal.SIGINT)
    one.join(60)
    assert one.exitcode == 1
    had = part.stat().st_size
    assert world.store.path(package.sha256) is None
    world.server.faults.clear()
    get(world, "hello-doc")
    assert held(world.store, package)
    assert [request.partition(" ")[2] for request in world.server.requests] == [f"bytes={had}-"]


def test_processes_that_fetch_the_same_packages_do_not_disturb_each_other(world: World) -> None:
    index = world.open()
    names = ("hello", "libhello1", "hello-doc", "small-greeter")
    packages = [package for name in names if (package := index.find_package(name))]
    world.server.requests.clear()
    spawn = multiprocessing.get_context("spawn")
    args = (packages, world.mirror, world.store.directory)
    running = [spawn.Process(target=_fetch, args=args) for _ in range(3)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    assert [one.exitcode for one in running] == [0, 0, 0]
    assert all(held(world.store, package) for package in packages)
    assert len(world.server.requests) == len(packages)
