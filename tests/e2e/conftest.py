"""A small archive on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.small_host import PACKAGES, Small, serve_small_host


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    """A signed archive with the packages of a small host, and a directory to work in."""
    with serve_small_host(tmp_path, PACKAGES) as small:
        yield small
