"""A small archive on loopback that has the toolbox, too."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive import Archive
from tests.support.server import serve
from tests.trust.world import packages
from tests.whole.small import Small


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    """A signed archive with the packages of a small host and its toolbox."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "work").mkdir()
    archive = Archive(tmp_path / "archive")
    archive.publish("trixie", packages())
    with serve(archive.directory) as server:
        small = Small(tmp_path / "work", archive, server, f"{server.url}/debian")
        small.write()
        yield small
