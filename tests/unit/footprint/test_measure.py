"""Every byte has one owner."""

import pytest

from minbuild.footprint.model import OwnerRow
from tests.support.footprints import KERNEL, TREE, tiny


@pytest.mark.parametrize("table", ["sections", "components", "packages"])
def test_rows_sum_to_the_totals_exactly(table: str) -> None:
    footprint = tiny()
    rows = getattr(footprint, table)
    totals = footprint.totals
    assert sum(row.files for row in rows) == totals.files
    assert sum(row.bytes for row in rows) == totals.bytes
    assert sum(row.packed for row in rows) == totals.packed == 1_305_007


def test_the_kernel_counts_as_a_file_and_weighs_its_own_size() -> None:
    row = next(row for row in tiny().files if row.path == KERNEL)
    assert (row.size, row.packed) == (1_000_000, 1_000_000)


def test_links_and_directories_are_no_files() -> None:
    totals = tiny().totals
    assert (totals.files, totals.links, totals.directories) == (4, 1, 1)


def test_the_initramfs_is_shared_out_to_its_last_byte() -> None:
    shared = [row.packed for row in tiny().files if row.path != KERNEL]
    assert sum(shared) == 300_007


def test_what_belongs_to_no_file_has_a_row_of_its_own() -> None:
    assert tiny().sections[-1] == OwnerRow("image", 0, 0, 5_000)


def test_every_section_has_a_row_even_without_files() -> None:
    assert [row.name for row in tiny().sections] == [
        "kernel", "filesystem", "network", "services", "boot", "hypervisor", "image",
    ]  # fmt: skip


def test_every_path_of_the_tree_has_a_row() -> None:
    assert [row.path for row in tiny().files] == [node.path for node in TREE.nodes]
