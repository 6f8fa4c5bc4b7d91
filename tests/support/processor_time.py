"""Seconds of processor time of each test and of what it starts, which a busy machine does not change.

`pytest -p tests.support.processor_time --processor-time=FILE` adds a line to FILE for each test;
`python -m tests.support.processor_time FILE` sums them by file, marker and group.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.forked_command import command_server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processor-time", metavar="FILE", help="a line of JSON for each test")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    before = read_seconds()
    try:
        return (yield)
    finally:
        if place := item.config.getoption("processor_time"):
            group = item.get_closest_marker("xdist_group")
            row = {
                "test": item.nodeid.partition("@")[0],
                "seconds": round(read_seconds() - before, 3),
                "markers": sorted({mark.name for mark in item.iter_markers()}),
                "group": str(group.args[0]) if group and group.args else "",
                "process": os.getpid(),
            }
            with Path(place).open("a") as stream:  # one write: workers append to the same file
                stream.write(json.dumps(row) + "\n")


def read_seconds() -> float:
    """Seconds of processor time of this process and of all that it has waited for."""
    used = os.times()
    forked = command_server().seconds if command_server.cache_info().currsize else 0.0
    return forked + used.user + used.system + used.children_user + used.children_system


def main(place: str) -> int:
    """Print the sums, the largest first, and the longest tests."""
    rows = [json.loads(line) for line in Path(place).read_text().splitlines()]
    sums: dict[str, Counter[str]] = {"file": Counter(), "marker": Counter(), "group": Counter()}
    for row in rows:
        sums["file"][row["test"].partition("::")[0]] += row["seconds"]
        sums["group"][row["group"]] += row["seconds"]
        for name in row["markers"]:
            sums["marker"][name] += row["seconds"]
    sums["test"] = Counter({row["test"]: row["seconds"] for row in rows})
    print(f"{sum(row['seconds'] for row in rows):8.1f} s  {len(rows)} tests")
    for kind, counted in sums.items():
        print(f"\nby {kind}")
        for name, seconds in counted.most_common(60):
            print(f"{seconds:8.1f}  {name or '-'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
