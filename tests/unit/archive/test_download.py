import threading

import pytest

from minbuild.archive.download import map_requests


def test_results_stand_in_the_order_of_the_items() -> None:
    assert map_requests(lambda number: number * 2, list(range(50))) == list(range(0, 100, 2))
    assert map_requests(str, []) == []


def test_the_first_failure_is_raised_without_waiting_for_the_rest() -> None:
    never = threading.Event()

    def work(number: int) -> None:
        if number == 0:
            never.wait()
        raise LookupError(str(number))

    with pytest.raises(LookupError):
        map_requests(work, [0, 1, 2])
    never.set()
