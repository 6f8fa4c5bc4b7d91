"""A small archive on loopback that has the toolbox, too."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trust.world import packages
from tests.whole.small import Small, offered


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    """A signed archive with the packages of a small host and its toolbox."""
    with offered(tmp_path, packages()) as small:
        small.write()
        yield small
