from hypothesis import given
from hypothesis import strategies as st

from minbuild.image.disk_layout import MIN_CLUSTERS, SECTOR, compute_smallest_fat


def test_a_small_file_system_is_fat16() -> None:
    assert compute_smallest_fat([17_849_344], 2).bits == 16


def test_a_large_file_costs_less_than_a_hundredth_more() -> None:
    size = 17_849_344
    assert compute_smallest_fat([size], 2).sectors * SECTOR <= size * 1.01


def test_what_is_small_takes_the_least_that_is_still_fat16() -> None:
    assert compute_smallest_fat([1], 0).sectors * SECTOR < MIN_CLUSTERS[16] * SECTOR + 40_000


@given(st.lists(st.integers(0, 1 << 28), max_size=5), st.integers(0, 9))
def test_it_always_holds_what_it_is_for(files: list[int], directories: int) -> None:
    fat = compute_smallest_fat(files, directories)
    assert fat.sectors % 2 == 0
    assert fat.sectors * SECTOR > sum(files) + directories * fat.cluster_size
