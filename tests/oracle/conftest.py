"""Fixtures of the oracles."""

import pytest

from minbuild.build.growing import Market
from tests.oracle.trees import open_market


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return open_market(tmp_path_factory.mktemp("store"), "amd64")
