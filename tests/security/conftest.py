"""A small archive on loopback that has the toolbox, too."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.small_host import Small, serve_small_host
from tests.security.world import packages


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    """A signed archive with the packages of a small host and its toolbox."""
    with serve_small_host(tmp_path, packages()) as small:
        small.write()
        yield small
