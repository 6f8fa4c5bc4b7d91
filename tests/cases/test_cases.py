"""Scenarios of the whole resolver: from a manifest and packages as text to a tree or an error.

tests/cases/README.md says what a case's folder holds. MINBUILD_CASES=write writes each
expected.txt anew.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from minbuild.resolve.model import NeedKind
from tests.cases.outcome import CASES, HERE, describe_outcome, lay_out
from tests.support.archive import Archive
from tests.support.patience import PATIENCE
from tests.support.server import serve

WRITE = os.environ.get("MINBUILD_CASES") == "write"
pytestmark = pytest.mark.xdist_group("cases")


@dataclass(frozen=True)
class ServedCases:
    """Every case below one directory, and the server that has their packages."""

    directory: Path
    url: str


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def served_cases(archive: Archive) -> Iterator[ServedCases]:
    directory = archive.directory
    for name in CASES:
        lay_out(name, directory, archive)
    with serve(directory) as server:
        yield ServedCases(directory, server.url)


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, served_cases: ServedCases) -> None:
    mirror = f"{served_cases.url}/{name}/debian"
    output = describe_outcome(
        served_cases.directory / name, mirror, served_cases.directory / "store"
    )
    expected = HERE / name / "expected.txt"
    if WRITE:
        expected.write_text(output)
    assert output == expected.read_text()
    assert "needed by nothing" not in output


def test_the_order_of_packages_and_the_hash_seed_change_nothing(
    served_cases: ServedCases, archive: Archive
) -> None:
    """Every case again: packages shuffled, a store of its own, another hash seed."""
    shuffled = served_cases.directory / "shuffled"
    shuffled.mkdir()
    (shuffled / archive.certificate.name).write_bytes(archive.certificate.read_bytes())
    for name in CASES:
        lay_out(name, shuffled, archive, seed=7)
    mirror, store = f"{served_cases.url}/shuffled", served_cases.directory / "shuffled-store"
    again = subprocess.run(
        [sys.executable, "-m", "tests.cases.outcome", shuffled, mirror, store],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        stdout=subprocess.PIPE,
        check=True,
        timeout=PATIENCE,
    )
    output = json.loads(again.stdout)
    assert output == {name: (HERE / name / "expected.txt").read_text() for name in CASES}


def test_every_kind_of_need_has_a_case() -> None:
    text = "".join((HERE / name / "expected.txt").read_text() for name in CASES)
    seen = {kind for kind in NeedKind if f" | {kind} " in text}
    if "lacks the option CONFIG_" in text:  # an option is no file: it leaves no need behind
        seen.add(NeedKind.KCONFIG)
    lacking = sorted(set(NeedKind) - seen)
    assert not lacking, f"add a case to tests/cases that needs: {', '.join(lacking)}"
