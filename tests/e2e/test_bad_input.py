"""What a user sees of each kind of bad input: what, where, a fix, and the right exit code."""

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.small_host import MANIFEST, CommandResult, Small, minbuild
from tests.support.archive import Archive
from tests.support.patience import PATIENCE, wait_for
from tests.support.private_mounts import run_with_mounts
from tests.support.server import Fault


def resolve(small: Small, more: str = "", env: dict[str, str] | None = None) -> CommandResult:
    """Resolve the small host with more lines in its manifest."""
    small.write(more)
    return minbuild(*small.argv("plan", "small.yaml"), cwd=small.directory, env=env)


def assert_refused(ended: CommandResult, code: int, *parts: str) -> None:
    """Assert that a run ended so, with each of these parts on stderr and no traceback."""
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert "error: " in ended.err
    assert "fix: " in ended.err
    for part in parts:
        assert part in ended.err


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ("kernal: {}\n", ("unknown key", "kernal", "small.yaml:7:1", "kernel")),
        ("network: {use: [dchp]}\n", ("dchp", "small.yaml:7:17", "dhcp")),
        ("extends: [small.yaml]\n", ("small.yaml", "extends")),
        ("files: {/etc/motd: {content: '{{ hostnam }}'}}\n", ("hostnam", "small.yaml:7:")),
        ("budget: {packed: lots}\n", ("lots", "small.yaml:7:18")),
    ],
)
def test_a_manifest_with_a_mistake(small: Small, more: str, parts: tuple[str, ...]) -> None:
    assert_refused(resolve(small, more), 3, *parts)


def test_every_mistake_of_a_manifest_is_reported_at_once(small: Small) -> None:
    ended = resolve(small, "kernal: {}\nnetwork: {use: [dchp]}\n")
    assert ended.err.count("error: ") == 2


def test_a_manifest_that_is_not_there(small: Small) -> None:
    ended = minbuild(*small.argv("plan", "hots.yaml"), cwd=small.directory)
    assert_refused(ended, 3, "hots.yaml", "host")


def test_a_waiver_of_the_date_is_not_for_tools(small: Small) -> None:
    """What is advised must work: the waiver is there, and does not reach the tools' suites."""
    over = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    small.archive.publish("old", "", date=over, valid_until=over)
    archive = "archive: {suites: [trixie], "
    base = MANIFEST.replace(archive, f"{archive}tools: [old], check-valid-until: false, ")
    small.write(base=base)
    ended = minbuild(*small.argv("lock", "small.yaml"), cwd=small.directory)
    assert_refused(
        ended, 4, "the Release file of old expired on", "take the tools from suites that hold"
    )
    assert "accept old packages" not in ended.err


def make_keep(package: str, path: str) -> str:
    return f"  - {{package: {package}, paths: ['{path}']}}\n"


@pytest.mark.parametrize(
    ("more", "code", "parts"),
    [
        (make_keep("helo", "/usr/bin/x"), 4, ("helo", "small.yaml:7:", "hello")),
        (make_keep("hello", "/usr/bin/helo"), 5, ("/usr/bin/helo", "hello", "small.yaml:7:")),
        (make_keep("hello", "/usr/lib/*.none"), 5, ("/usr/lib/*.none", "small.yaml:7:")),
        (make_keep("broken", "/usr/bin/broken"), 5, ("libnowhere.so.7", "/usr/bin/broken", "→")),
    ],
)
def test_a_need_that_nothing_meets(
    small: Small, more: str, code: int, parts: tuple[str, ...]
) -> None:
    assert_refused(resolve(small, more), code, *parts)


def test_a_module_that_the_kernel_does_not_have(small: Small) -> None:
    path = small.write()
    path.write_text(path.read_text().replace("cloud-amd64}", "cloud-amd64, modules: [irqbypas]}"))
    ended = minbuild(*small.argv("plan", "small.yaml"), cwd=small.directory)
    assert_refused(ended, 5, "irqbypas", "did you mean irqbypass", "small.yaml:4:")


def test_a_kernel_that_lacks_an_option(small: Small) -> None:
    path = small.directory / "components" / "kernel"
    path.mkdir(parents=True)
    (path / "xen.yaml").write_text("summary: Xen\nkconfig: [XEN]\n")
    base = small.write().read_text().replace("cloud-amd64}", "cloud-amd64, use: [xen]}")
    (small.directory / "small.yaml").write_text(base)
    ended = minbuild(*small.argv("plan", "small.yaml"), cwd=small.directory)
    assert_refused(ended, 5, "CONFIG_XEN", "xen.yaml:2:")


def test_no_mirror_known(small: Small) -> None:
    small.write()
    argv = ["plan", "small.yaml", "--store", "store"]
    ended = minbuild(*argv, cwd=small.directory, env={"MINBUILD_MIRROR": "not-an-address"})
    assert_refused(ended, 4, "not-an-address", "--mirror")


def test_a_mirror_that_cannot_be_reached(small: Small) -> None:
    small.write()
    argv = ["plan", "small.yaml", "--store", "store", "--mirror", "http://127.0.0.1:9/debian"]
    assert_refused(minbuild(*argv, cwd=small.directory), 4, "127.0.0.1:9")


def test_offline_with_an_empty_store(small: Small) -> None:
    small.write()
    ended = minbuild(*small.argv("plan", "small.yaml", "--offline"), cwd=small.directory)
    assert_refused(ended, 4, "offline")


def test_an_archive_signed_by_another_key(small: Small, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Archive(tmp_path / "other")
    small.archive.publish("trixie", "Package: x\nVersion: 1\n", key=other.key)
    assert_refused(resolve(small), 4, "trixie", "sign")


def test_an_archive_past_its_time(small: Small) -> None:
    gone = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    small.archive.publish("trixie", "Package: x\nVersion: 1\n", valid_until=gone)
    assert_refused(resolve(small), 4, "trixie", "2020")


def test_an_index_that_differs_from_its_digest(small: Small) -> None:
    (index,) = small.archive.directory.rglob("by-hash/SHA256/*")
    small.server.fail(index.name, Fault.FLIP, forever=True)
    assert_refused(resolve(small), 4, "trixie")


def test_a_package_that_differs_from_its_digest(small: Small) -> None:
    small.server.fail("hello_1.0_amd64.deb", Fault.FLIP, forever=True)
    assert_refused(resolve(small), 4, "hello")


def test_a_truncated_package(small: Small) -> None:
    small.server.fail("hello_1.0_amd64.deb", Fault.SHORT, forever=True)
    assert_refused(resolve(small), 4, "hello")


def test_nothing_is_left_of_what_was_refused(small: Small) -> None:
    assert_refused(resolve(small, make_keep("broken", "/usr/bin/broken")), 5)
    assert not list(small.directory.glob("*.lock"))
    assert not (small.directory / "build").exists()
    assert not list((small.directory / "store" / "partial").iterdir())


def test_a_full_disk(small: Small) -> None:
    """A store on a file system of 64 kB, mounted in a namespace of the test's own."""
    small.write()
    (small.directory / "store").mkdir()
    command = (sys.executable, "-m", "minbuild", *small.argv("plan", "small.yaml"))
    result = run_with_mounts("mount -t tmpfs -o size=64k none store", *command, cwd=small.directory)
    assert_refused(CommandResult(result.returncode, result.stdout, result.stderr), 6, "store")


@pytest.mark.parametrize("stalls", ["hello_1.0_amd64.deb", "InRelease"])
def test_an_interrupt_in_the_middle(small: Small, stalls: str) -> None:
    small.write()
    small.server.fail(stalls, Fault.STALL, forever=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "minbuild", *small.argv("plan", "small.yaml")],
        cwd=small.directory,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: any(stalls in path for path in list_requests(small)))
        time.sleep(0.3)  # the request is out, its thread may not be waiting yet
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert not list(small.directory.glob("*.lock"))
    small.server.faults.clear()
    assert resolve(small).code == 0


def list_requests(small: Small) -> list[str]:
    """The paths that were asked of the server so far."""
    return list(small.server.requests)
