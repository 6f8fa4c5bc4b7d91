"""Fixtures of the oracles."""

import pytest

from minbuild.pipeline.package_selection import PackageSource
from tests.oracle.trees import open_archive_source
from tests.support.cache import make_run_directory


@pytest.fixture(scope="session")
def package_source(tmp_path_factory: pytest.TempPathFactory) -> PackageSource:
    return open_archive_source(make_run_directory(tmp_path_factory, "oracle-store"), "amd64")
