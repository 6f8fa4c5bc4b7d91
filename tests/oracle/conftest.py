"""Fixtures of the oracles."""

import pytest

from minbuild.pipeline.package_selection import PackageSource
from tests.oracle.trees import open_archive_source


@pytest.fixture(scope="session")
def package_source(tmp_path_factory: pytest.TempPathFactory) -> PackageSource:
    return open_archive_source(tmp_path_factory.mktemp("store"), "amd64")
