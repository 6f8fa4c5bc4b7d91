"""A small archive on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive import Archive
from tests.support.server import serve
from tests.whole.small import PACKAGES, Small


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    """A signed archive with the packages of a small host, and a directory to work in."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "work").mkdir()
    archive = Archive(tmp_path / "archive")
    archive.publish("trixie", PACKAGES)
    with serve(archive.directory) as server:
        yield Small(tmp_path / "work", archive, server, f"{server.url}/debian")
