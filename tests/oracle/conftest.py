"""Fixtures of the oracles."""

import pytest

from minbuild.pipeline.package_selection import PackageSource
from tests.oracle.trees import open_market


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> PackageSource:
    return open_market(tmp_path_factory.mktemp("store"), "amd64")
