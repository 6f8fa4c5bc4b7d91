"""Errors of a manifest whose lock is too old for it, against a real archive on loopback."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minbuild.archive import lockfile
from minbuild.errors import MinbuildError, ResolveError
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Manifest
from minbuild.pipeline.host_resolution import resolve_host
from minbuild.pipeline.lock_creation import load_or_select_lock
from minbuild.pipeline.session import BuildRequest, Session
from tests.cases.outcome import HEAD, HERE
from tests.support.archive import Archive
from tests.support.server import serve

MORE = """
Package: tool
Version: 1.0
Depends: libtool
/usr/bin/tool 0755 elf interp=/lib64/ld-linux-x86-64.so.2 needed=libtool.so.1,libc.so.6

Package: libtool
Version: 1.0
/usr/lib/x86_64-linux-gnu/libtool.so.1 elf soname=libtool.so.1
"""
LOCKED = "kernel: {package: linux}\nkeep:\n  - {package: hello, paths: [/usr/bin/hello]}\n"
Refuse = Callable[[str], list[MinbuildError]]


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refuse]:
    """The errors of a manifest with a lock that was made for LOCKED alone."""
    top = tmp_path_factory.mktemp("archive")
    archive, place = Archive(top), top / "a"
    archive.publish("trixie", (HERE / "base.txt").read_text() + MORE)
    place.mkdir()
    manifest = place / "host.yaml"
    with serve(top) as server:
        request = BuildRequest(manifest, mirror=(f"{server.url}/debian",))
        doors = Session(top / "store")
        manifest.write_text(HEAD + LOCKED)
        lock = load_or_select_lock(request, _load(manifest), doors)
        lockfile.write_lock(place / "host.lock", lock)

        def errors(text: str) -> list[MinbuildError]:
            manifest.write_text(HEAD + LOCKED + text)
            with pytest.raises(ResolveError) as caught:
                resolve_host(request, _load(manifest), lock, doors)
            return [caught.value, *caught.value.also]

        yield errors
        doors.close()


def test_each_need_leads_with_the_lock_and_then_the_name(refused: Refuse) -> None:
    errors = refused(
        "  - {package: tool, paths: [/usr/bin/tool]}\n"
        "  - {package: tol, paths: [/usr/bin/tol]}\n"
        "  - {package: hello, paths: [/usr/bin/helo]}\n"
    )
    assert len(errors) == 3
    for one in errors:
        assert one.fix.startswith("minbuild lock "), one.fix
        assert "if the manifest has changed since host.lock was written; else " in one.fix
    said = {one.what: one.fix for one in errors}
    fix = said["the package tool is not in host.lock; /usr/bin/tool should come from it"]
    assert "correct the package's name" in fix.partition("; else ")[2]
    assert said["the package hello does not contain /usr/bin/helo"].endswith(
        "did you mean /usr/bin/hello?"
    )


def test_a_waiver_that_nothing_needs_is_no_matter_of_the_lock(refused: Refuse) -> None:
    lack, stale = refused(
        "  - {package: tool, paths: [/usr/bin/tool]}\n"
        "allow-missing: [{path: /never, because: no}]\n"
    )
    assert lack.fix.startswith("minbuild lock ")
    assert (stale.what, stale.fix) == (
        "nothing needs the waiver for /never any more",
        "remove that line",
    )


def _load(path: Path) -> Manifest:
    return read_manifest(path, settings={}, components=[])
