"""Work on input of others ends in time and stays in memory."""

import resource
import threading

import pytest

from minbuild.bounds import TimeExceeded, limit_resources


def count_on() -> None:
    number = 0
    while True:
        number += 1


def test_work_without_end_is_ended() -> None:
    with pytest.raises(TimeExceeded), limit_resources(seconds=0.05):
        count_on()


def test_work_without_bounds_is_refused_memory() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(MemoryError), limit_resources(memory=64 << 20):
        bytearray(256 << 20)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(bytearray(80 << 20)) == 80 << 20


def test_work_in_a_thread_is_done() -> None:
    done = []

    def work() -> None:
        with limit_resources(seconds=0.001, memory=1):
            done.append(sum(range(10)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [45]
