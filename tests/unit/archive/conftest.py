"""An archive made by the test, served on loopback, and what it takes to read from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from minbuild.archive.index import Index, open_index
from minbuild.archive.mirror import Mirror, find_mirror
from minbuild.cache.store import Store
from minbuild.manifest.model import Archive as Wish
from minbuild.progress import SilentProgress
from tests.support.archive import Archive
from tests.support.server import Server, serve

PACKAGES = """
Package: hello
Version: 2.0-1
Depends: libhello1 (>= 1.0), default-greeter | greeter
Pre-Depends: base:any
Source: hello-src (2.0)
/usr/bin/hello 0755 elf needed=libhello.so.1

Package: libhello1
/usr/lib/libhello.so.1 elf soname=libhello.so.1

Package: small-greeter
Architecture: all
Provides: greeter (= 1.0), default-greeter
/usr/bin/greet 0755 file "#!/bin/sh"

Package: hello-doc
Architecture: all
Compression: none
/usr/share/doc/hello/text zeros 300000
"""


class Notes(SilentProgress):
    """Progress that keeps what was noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class World:
    """An archive, its server, a store, and the wish that reads the one into the other."""

    def __init__(self, archive: Archive, server: Server, store: Store) -> None:
        self.archive, self.server, self.store = archive, server, store
        self.mirror: Mirror = find_mirror(f"{server.url}/debian")
        self.wish = Wish(suites=("trixie",), signed_by=str(archive.certificate))
        self.progress = Notes()

    def open(
        self, wish: Wish | None = None, *, offline: bool = False, now: int | None = None
    ) -> Index:
        return open_index(
            wish or self.wish,
            "amd64",
            self.mirror,
            self.store,
            offline=offline,
            progress=self.progress,
            now=now,
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A signed archive with the suite trixie and PACKAGES in it."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MINBUILD_TIMEOUT", "1")
    directory = tmp_path / "archive"
    directory.mkdir()
    archive = Archive(directory)
    archive.publish("trixie", PACKAGES)
    with serve(directory) as server:
        yield World(archive, server, Store(tmp_path / "store"))
