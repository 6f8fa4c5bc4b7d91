"""Programs of the worker: dnsmasq with outages."""

import selectors
import time

import pytest

from minbuild.errors import ToolError
from minbuild.lab.worker.worker import Dnsmasq

WORDS = ("/bin/sh", "-c", "echo up >&2; exec sleep 600")
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def run_dnsmasq(
    words: tuple[str, ...], outages: list[tuple[float, float]], ups: int
) -> list[float]:
    """The times at which the server said that it is up, until it did so `ups` times."""
    loop = selectors.DefaultSelector()
    times: list[float] = []
    began = time.monotonic()
    serving = Dnsmasq(
        words, ENVIRONMENT, outages, loop, lambda data: times.append(time.monotonic() - began)
    )
    try:
        while len(times) < ups and time.monotonic() - began < 60:
            if loop.get_map():
                for key, _ in loop.select(0.05):
                    key.data()
            else:
                time.sleep(0.05)
            serving.tick()
        assert serving.poll_interval is None
    finally:
        serving.close()
        loop.close()
    return times


def test_a_server_without_outages_is_started_at_once() -> None:
    assert len(run_dnsmasq(WORDS, [], 1)) == 1


def test_a_late_server_and_one_that_goes_away_for_a_while() -> None:
    first, second = run_dnsmasq(WORDS, [(0.0, 0.5), (4.0, 5.0)], 2)
    assert first >= 0.5
    assert second >= 5.0


def test_a_server_that_ends_by_itself_is_an_error() -> None:
    with pytest.raises(ToolError, match="no good"):
        run_dnsmasq(("/bin/sh", "-c", "echo no good >&2; exit 3"), [], 2)
